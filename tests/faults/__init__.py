"""Real servers, real faults: each test is a sentence of what readiness and stopping promise."""
