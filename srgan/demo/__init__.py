"""`srgan demo`: a page on this machine that upscales pictures and clips."""
