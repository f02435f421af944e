"""The record of a service: figures of each request, drift of its images, comparison with a challenger."""
