"""From 2D keypoints to 3D: a small network that is taught by poses seen through virtual cameras, and needs no images."""

SHIPPED_RUN = "lifting"  # stands for the folder of the model that comes with the package
