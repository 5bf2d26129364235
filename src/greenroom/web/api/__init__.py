"""The REST API under /api/v1, one module per noun: the same services as the pages, told as JSON. No rule here."""
