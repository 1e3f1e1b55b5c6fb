//! Ed25519 signatures, computed as seldom as can be. A signature that was made on this thread is
//! right, and so is one that has been verified: a run's certificates are those of every run.
//! Everything else is verified by ring.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};

use rustls::crypto::{KeyProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, alg_id,
};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::memory;

/// The bytes of a public key, which end its `SubjectPublicKeyInfo` (RFC 8410, 4).
const PUBLIC_KEY_BYTES: usize = 32;

thread_local! {
    /// Digests of the signatures that are right.
    static RIGHT: RefCell<Right> = RefCell::default();
}

#[derive(Default)]
struct Right {
    /// They were made here. Each is verified once, by the other end.
    made: BTreeSet<u64>,
    /// They were verified: those of certificates.
    verified: BTreeSet<u64>,
}

/// Forgets the signatures that no end has verified.
pub(super) fn forget_unverified() {
    RIGHT.with_borrow_mut(|right| right.made.clear());
}

fn digest(public_key: &[u8], message: &[u8], signature: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (public_key, message, signature).hash(&mut hasher);
    hasher.finish()
}

/// The algorithms of every end.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&Ed25519],
    mapping: &[(SignatureScheme::ED25519, &[&Ed25519])],
};

#[derive(Debug)]
struct Ed25519;

impl SignatureVerificationAlgorithm for Ed25519 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let digest = digest(public_key, message, signature);
        let known = RIGHT.with_borrow_mut(|right| {
            right.made.remove(&digest) || right.verified.contains(&digest)
        });
        if !known {
            of_ring().verify_signature(public_key, message, signature)?;
            memory::uncharged(|| RIGHT.with_borrow_mut(|right| right.verified.insert(digest)));
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

fn of_ring() -> &'static dyn SignatureVerificationAlgorithm {
    static OF_RING: OnceLock<&'static dyn SignatureVerificationAlgorithm> = OnceLock::new();
    *OF_RING.get_or_init(|| {
        let mapping = ring::default_provider().signature_verification_algorithms.mapping;
        let of_ed25519 = mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
        of_ed25519.and_then(|(_, algorithms)| algorithms.first()).copied().expect("ring has it")
    })
}

/// Loads keys that remember what they sign.
#[derive(Debug)]
pub(super) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Ok(Arc::new(Key(ring::default_provider().key_provider.load_private_key(key)?)))
    }
}

#[derive(Debug)]
struct Key(Arc<dyn SigningKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let public = self.public_key()?;
        let public_key = *public.as_ref().last_chunk::<PUBLIC_KEY_BYTES>()?;
        let signer = self.0.choose_scheme(offered)?;
        Some(Box::new(Remembering { signer, public_key }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct Remembering {
    signer: Box<dyn Signer>,
    public_key: [u8; PUBLIC_KEY_BYTES],
}

impl Signer for Remembering {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.signer.sign(message)?;
        let digest = digest(&self.public_key, message, &signature);
        memory::uncharged(|| RIGHT.with_borrow_mut(|right| right.made.insert(digest)));
        Ok(signature)
    }

    fn scheme(&self) -> SignatureScheme {
        self.signer.scheme()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::super::FRONT;
    use super::*;

    fn signed(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let key = PrivateKeyDer::from_pem_slice(FRONT.key.as_bytes()).expect("it is PEM");
        let key = Keys.load_private_key(key).expect("ring supports it");
        let signer = key.choose_scheme(&[SignatureScheme::ED25519]).expect("it has this scheme");
        let signature = signer.sign(message).expect("it can sign");
        let public = key.public_key().expect("it has one").as_ref().to_vec();
        (public[public.len() - PUBLIC_KEY_BYTES..].to_vec(), signature)
    }

    #[test]
    fn a_right_signature_is_verified_with_and_without_memory() {
        let (public, signature) = signed(b"message");
        for _ in 0..3 {
            Ed25519.verify_signature(&public, b"message", &signature).expect("it is right");
        }
        forget_unverified();
        Ed25519.verify_signature(&public, b"message", &signature).expect("it is right");
    }

    #[test]
    fn a_signature_of_something_else_or_by_another_key_is_wrong() {
        let (public, signature) = signed(b"message");
        let mut other = public.clone();
        other[0] ^= 1;
        for (public, message) in [(&public, b"massage"), (&other, b"message")] {
            for _ in 0..2 {
                Ed25519.verify_signature(public, message, &signature).expect_err("it is wrong");
            }
        }
    }
}
