"""The starter: the small base that is trained by this project. Data, training, and the weights that ship."""
