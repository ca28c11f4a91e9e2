"""How the mini is trained, in parts; `train_mini.py` beside this folder puts them together.

pictures, views  photographs and video frames, cut into views that a teacher labels once
stills           rendered frames with exact disparity and normals
augment, losses  what the student sees, and what it is judged by
weights, run     where training starts, how it is saved, the optimizer
core, sharp      the two legs: depth and normals in one pass; the detail sharpener
check, measure   held-out figures while it runs
program          one run from start to finish
"""
