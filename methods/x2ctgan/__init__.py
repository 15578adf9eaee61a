"""X2CT-GAN (CVPR 2019): a feed-forward generator, trained against a conditional discriminator."""
