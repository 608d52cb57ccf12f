//! The one cryptographic provider.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// aws-lc-rs with the post-quantum hybrid X25519MLKEM768 first: traffic recorded today is to stay
/// secret when there are machines that break X25519.
///
/// Given to every rustls config by hand, because rustls' process-wide default would be whatever
/// some dependency installs first.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = aws_lc_rs::default_provider();
            provider.kx_groups = vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
                aws_lc_rs::kx_group::SECP256R1,
                aws_lc_rs::kx_group::SECP384R1,
            ];
            Arc::new(provider)
        })
        .clone()
}
