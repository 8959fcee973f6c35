"""What single experiments are made of beyond their own file: a folder for each of them."""
