//! One choice of cryptography for the whole process.

/// Makes ring the provider of every TLS connection. The first call wins; more do no harm.
pub fn install_crypto() {
    // An error means that a provider is installed already: ours, by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
