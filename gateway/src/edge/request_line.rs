//! The one line of a head that Pingora repairs instead of refusing it.
//!
//! Where a request line holds spaces or control characters in its target, Pingora escapes them and goes on, so that
//! what is routed is not what was sent. RFC 9112, section 3.2, says not to. So the line is looked at as it comes in.

/// How far a request line was read, and whether it still can be one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestLine {
    spaces: u8,
    begun: bool,
    ended: bool,
    carriage_return: bool,
}

/// The line is no request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl RequestLine {
    /// Goes on with the bytes that came in next: three words, each of visible characters.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.ended {
            return Ok(());
        }
        for &byte in bytes {
            match byte {
                // Empty lines before a request are passed over (RFC 9112, section 2.2).
                b'\r' | b'\n' if !self.begun => continue,
                b'\n' => {
                    self.ended = true;
                    return if self.spaces == 2 { Ok(()) } else { Err(Malformed) };
                }
                _ if self.carriage_return => return Err(Malformed),
                b'\r' => self.carriage_return = true,
                b' ' => {
                    self.spaces += 1;
                    if self.spaces > 2 {
                        return Err(Malformed);
                    }
                }
                0x00..=0x1f | 0x7f => return Err(Malformed),
                _ => {}
            }
            self.begun = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<(), Malformed> {
        RequestLine::default().read(bytes)
    }

    #[test]
    fn three_visible_words_are_a_request_line() {
        for line in [
            "GET / HTTP/1.1\r\nX: a b\tc\r\n",
            "GET / HTTP/1.1\nX: y\n",
            "\r\n\r\nGET / HTTP/1.1\r\n",
            "GET /\u{fc}?a=\"b\" HTTP/1.1\r\n",
            "GET /unfinished",
        ] {
            assert_eq!(read(line.as_bytes()), Ok(()), "{line:?}");
        }
        for line in [
            "hello\r\n",
            "GET /\r\n",
            "GET /a b HTTP/1.1\r\n",
            "GET  / HTTP/1.1\r\n",
            "GET / HTTP/1.1 \r\n",
            "GET /\tHTTP/1.1\r\n",
            "GET /\0 HTTP/1.1\r\n",
            "GET /\r HTTP/1.1\r\n",
            "\x16\x03\x01",
            "\r\n GET / HTTP/1.1 \r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Malformed), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_a_line_comes(
            line in "[ -~\r\n\t]{0,60}",
            cuts in proptest::collection::vec(0usize..60, 0..4),
        ) {
            let bytes = line.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut pieces = RequestLine::default();
            let by_pieces = cuts.windows(2).try_for_each(|cut| pieces.read(&bytes[cut[0]..cut[1]]));
            prop_assert_eq!(by_pieces, read(bytes));
        }
    }
}
