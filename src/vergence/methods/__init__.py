"""Methods: one paper, one file. Each is a plain module with `losses(views)` and `predict(image, intrinsics)`."""
