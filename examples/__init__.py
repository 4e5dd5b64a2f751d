"""Programs that show what ESG serves, one each; docs/guide.md walks through them."""
