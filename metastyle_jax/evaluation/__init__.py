"""Measures of stylized pictures (losses, LPIPS, SSIM), and methods compared by them."""

__all__ = ["evaluation_run", "gallery", "judging"]
