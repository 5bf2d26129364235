"""The pages, one module per noun. Each opens the studio, calls services and renders; none holds a rule."""
