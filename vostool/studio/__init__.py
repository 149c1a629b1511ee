"""`vostool studio`: a page on this computer to paint first masks, follow, repair and save.

`session` is the state of a project and what may be done to it; `server` offers it to the page in
`static/`, behind `guard`. What runs the network is in `engine`, so that the page is there before
PyTorch is.
"""
