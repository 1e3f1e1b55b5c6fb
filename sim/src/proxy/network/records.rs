//! TLS records in the bytes that an end writes, to find the `close_notify` that ends them.

/// Bytes of a record's header (RFC 8446, 5.1).
const HEADER_BYTES: u64 = 5;
/// The content types of alerts, and of everything encrypted with TLS 1.3.
const ALERT: u8 = 21;
const ENCRYPTED: u8 = 23;
/// Bytes of an encrypted alert's record with TLS 1.3: level, description, content type, tag.
const ENCRYPTED_ALERT_BYTES: u64 = 2 + 1 + 16;

/// Follows the records of one direction.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Where the last record begins.
    begin: u64,
    /// Its header, as far as it was seen.
    header: Vec<u8>,
    /// Bytes seen.
    seen: u64,
}

impl Records {
    fn length(&self) -> Option<u64> {
        let length = self.header.get(3..5)?;
        Some(u64::from(length[0]) << 8 | u64::from(length[1]))
    }

    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = self.length().map(|length| self.begin + HEADER_BYTES + length);
            if end == Some(self.seen) {
                self.begin = self.seen;
                self.header.clear();
                continue;
            }
            let wanted = match end {
                Some(end) => end - self.seen,
                None => 1,
            };
            let taken = (bytes.len() as u64).min(wanted) as usize;
            if end.is_none() {
                self.header.extend_from_slice(&bytes[..taken]);
            }
            self.seen += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    /// Where the last record begins, if it may be an alert.
    pub(crate) fn alert(&self) -> Option<u64> {
        let kind = *self.header.first()?;
        let is_alert = match self.length() {
            Some(length) => kind == ALERT || kind == ENCRYPTED && length == ENCRYPTED_ALERT_BYTES,
            None => kind == ALERT || kind == ENCRYPTED,
        };
        is_alert.then_some(self.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_is_found_however_it_is_written() {
        let data = [&[23, 3, 3, 0, 4][..], b"data"].concat();
        let alert = [&[23, 3, 3, 0, 19][..], &[0; 19]].concat();
        let all = [data.clone(), alert.clone()].concat();
        for piece in [1, 2, 7, 100] {
            let mut records = Records::default();
            for bytes in all.chunks(piece) {
                records.follow(bytes);
            }
            assert_eq!(records.alert(), Some(9));
            records.follow(&data);
            assert_eq!(records.alert(), None);
        }
    }
}
