"""RLDS data sets, which TensorFlow Datasets reads, without TensorFlow."""
