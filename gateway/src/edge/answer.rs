//! The gateway's answers to what never became a request.
//!
//! Pingora answers a malformed head by itself, with its own name in it and without a body; for a head that stalls or
//! is too large it has no answer. These are sent in their place: problem details (RFC 9457), and the connection
//! closes.

/// One such answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// Head and body, as they go out.
    bytes: &'static [u8],
    /// Bytes of the body.
    pub(super) body: u64,
}

macro_rules! answer {
    ($status:literal, $title:literal, $length:literal, $body:literal) => {
        Answer {
            status: $status,
            bytes: concat!(
                "HTTP/1.1 ",
                $status,
                " ",
                $title,
                "\r\n",
                "Content-Type: application/problem+json\r\n",
                "Content-Length: ",
                $length,
                "\r\n",
                "Cache-Control: no-store\r\n",
                "Connection: close\r\n\r\n",
                $body
            )
            .as_bytes(),
            body: $length,
        }
    };
}

impl Answer {
    /// The head could not be understood.
    pub(super) const MALFORMED: Answer =
        answer!(400, "Bad Request", 62, r#"{"title":"Bad Request","status":400,"detail":"malformed head"}"#);
    /// The head was not complete in time.
    pub(super) const TIMEOUT: Answer =
        answer!(408, "Request Timeout", 40, r#"{"title":"Request Timeout","status":408}"#);
    /// The head was too large.
    pub(super) const TOO_LARGE: Answer = answer!(
        431,
        "Request Header Fields Too Large",
        56,
        r#"{"title":"Request Header Fields Too Large","status":431}"#
    );

    /// Head and body, as they go out.
    pub(super) fn bytes(&self) -> &'static [u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_whole() {
        for answer in [Answer::MALFORMED, Answer::TIMEOUT, Answer::TOO_LARGE] {
            let text = std::str::from_utf8(answer.bytes()).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert_eq!(body.len() as u64, answer.body, "{head}");
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", answer.status)));
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", answer.body)));
            let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(problem["status"], answer.status);
        }
    }
}
