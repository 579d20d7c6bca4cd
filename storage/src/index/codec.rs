//! How values of the index are written: a version byte, then `bincode` (standard configuration). All of it is
//! here, so that the library can be replaced.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};

use super::IndexError;

/// No value is larger; labels of one stream come closest (Loki's limits allow some 90 KiB). It is also what a
/// decoder may allocate, whatever lengths the bytes claim.
pub(super) const MAX_VALUE_BYTES: usize = 1 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_VALUE_BYTES>> =
    bincode::config::standard().with_limit::<MAX_VALUE_BYTES>();

/// A kind of value.
pub(super) trait Value {
    /// What the value is, for errors.
    const NAME: &'static str;
    /// The version written. A reader that meets another says so; when there is a second one, `decode` takes
    /// the first as well.
    const VERSION: u8;
}

pub(super) fn encode<T: Value + Encode>(value: &T) -> Result<Vec<u8>, IndexError> {
    let mut bytes = vec![T::VERSION];
    bincode::encode_into_std_write(value, &mut bytes, CONFIG)
        .map_err(|error| IndexError::Unencodable { what: T::NAME, reason: error.to_string() })?;
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(IndexError::TooLarge { what: T::NAME, bytes: bytes.len(), limit: MAX_VALUE_BYTES });
    }
    Ok(bytes)
}

pub(super) fn decode<'a, T: Value + BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, IndexError> {
    let corrupt = |reason: String| IndexError::Corrupt { what: T::NAME, reason };
    let (&version, body) = bytes.split_first().ok_or_else(|| corrupt("it is empty".into()))?;
    if version != T::VERSION {
        return Err(corrupt(format!("its version is `{version}`, not `{}`", T::VERSION)));
    }
    let (value, used) =
        bincode::borrow_decode_from_slice(body, CONFIG).map_err(|e| corrupt(e.to_string()))?;
    if used != body.len() {
        return Err(corrupt(format!("`{}` bytes follow it", body.len() - used)));
    }
    Ok(value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{BorrowDecode, Encode, Value, decode, encode};

    /// What every kind of value must do: come back as it was, and refuse each cut, a foreign version and
    /// bytes too many.
    pub(in crate::index) fn check<T>(value: &T)
    where
        T: Value + Encode + for<'a> BorrowDecode<'a, ()> + PartialEq + std::fmt::Debug,
    {
        let mut bytes = encode(value).unwrap();
        assert_eq!(&decode::<T>(&bytes).unwrap(), value);
        for cut in 0..bytes.len() {
            assert!(decode::<T>(&bytes[..cut]).is_err());
        }
        bytes.push(0);
        assert!(decode::<T>(&bytes).is_err());
        bytes.pop();
        bytes[0] += 1;
        assert!(decode::<T>(&bytes).is_err());
    }

    /// No bytes make the decoder panic, or allocate more than its limit.
    pub(in crate::index) fn check_junk<'a, T: Value + BorrowDecode<'a, ()>>(junk: &'a mut Vec<u8>) {
        junk.insert(0, T::VERSION);
        let _ = decode::<T>(junk);
    }

    #[derive(Debug, PartialEq, bincode::Encode, bincode::Decode)]
    struct Texts(Vec<String>);

    impl Value for Texts {
        const NAME: &'static str = "texts";
        const VERSION: u8 = 3;
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_anything_is_allocated() {
        let huge = [3, 253, 255, 255, 255, 255, 255, 255, 255, 127];
        assert!(decode::<Texts>(&huge).is_err());
    }

    #[test]
    fn value_over_the_limit_is_not_written() {
        assert!(encode(&Texts(vec!["x".repeat(super::MAX_VALUE_BYTES)])).is_err());
    }

    #[test]
    fn values_keep_the_promises_of_the_codec() {
        check(&Texts(vec!["a".into(), "bc".into()]));
    }
}
