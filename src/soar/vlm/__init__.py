"""Eyes: yes/no questions about images, and the models that answer them."""
