"""Measures of stylized pictures (losses, LPIPS, SSIM), and methods compared by them."""

__all__ = ["evaluation_inputs", "evaluation_run", "evaluation_settings", "judging", "lpips"]
