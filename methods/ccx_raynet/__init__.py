"""CCX-rayNet (ISBI 2021) and CCX-rayGAN: X2CT-GAN's generator, conditioned on class masks of the X-rays."""
