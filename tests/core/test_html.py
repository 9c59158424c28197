"""Pages of one file."""

from groundwork.core.html import Html, drop, fill


def test_values_are_escaped() -> None:
    """A value is text, whatever it holds."""
    assert fill("<p>$text</p>", text="<b>&\"'") == "<p>&lt;b&gt;&amp;&quot;&#x27;</p>"


def test_html_is_kept() -> None:
    """What is HTML already goes in as it is, so that one piece may hold another."""
    inner = fill("<b>$text</b>", text="<")

    assert isinstance(inner, Html)
    assert fill("<p>$inner</p>", inner=inner) == "<p><b>&lt;</b></p>"


def test_a_part_is_dropped() -> None:
    """Between its two comments a part goes, and the rest stays."""
    assert drop("a<!-- part -->b<!-- /part -->c", "part") == "ac"
