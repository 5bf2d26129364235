"""The service layer: plain typed functions, one module per noun. Never commits and never sees a request."""
