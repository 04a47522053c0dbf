//! What an error of Pingora's means: for the client, and for the record.

use audit_writer::record::End;
use pingora_core::{Error, ErrorSource, ErrorType};

use crate::edge::Cut;
use crate::problem::Problem;
use crate::upstream::fault;

/// An exchange that failed.
#[derive(Debug)]
pub struct Failure {
    /// How it ended.
    pub end: End,
    /// The answer, where somebody is left to be answered.
    pub problem: Option<Problem>,
}

impl Failure {
    /// Judges an error by where it lies, and by what the edge broke off.
    pub fn of(error: &Error, cut: Cut) -> Failure {
        let word = error.etype().as_str();
        match cut {
            Cut::Deadline => return answered(End::Timeout, Problem::timed_out("deadline")),
            Cut::WriteIdle => return unanswered(End::Timeout),
            _ => {}
        }
        match error.esource() {
            ErrorSource::Upstream => match error.etype() {
                ErrorType::ConnectTimedout
                | ErrorType::TLSHandshakeTimedout
                | ErrorType::ReadTimedout
                | ErrorType::WriteTimedout => answered(End::Timeout, Problem::timed_out(word)),
                _ => answered(End::UpstreamFailed, Problem::upstream_failed(fault::word(error))),
            },
            ErrorSource::Downstream => match error.etype() {
                ErrorType::ReadTimedout => answered(End::Timeout, Problem::body_timeout()),
                ErrorType::WriteTimedout => unanswered(End::Timeout),
                ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => {
                    unanswered(End::ClientClosed)
                }
                _ => answered(End::Refused, Problem::bad_request(word)),
            },
            ErrorSource::Internal | ErrorSource::Unset => answered(End::Internal, Problem::internal(word)),
        }
    }
}

fn answered(end: End, problem: Problem) -> Failure {
    Failure { end, problem: Some(problem) }
}

fn unanswered(end: End) -> Failure {
    Failure { end, problem: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_where_it_lies() {
        let status = |failure: &Failure| failure.problem.as_ref().map(|problem| problem.status.as_u16());
        for (error, cut, end, answer) in [
            (Error::new_up(ErrorType::ConnectRefused), Cut::None, End::UpstreamFailed, Some(502)),
            (Error::new_up(ErrorType::ConnectTimedout), Cut::None, End::Timeout, Some(504)),
            (Error::new_up(ErrorType::ReadTimedout), Cut::None, End::Timeout, Some(504)),
            (Error::new_up(ErrorType::ConnectionClosed), Cut::None, End::UpstreamFailed, Some(502)),
            (Error::new_down(ErrorType::ConnectionClosed), Cut::None, End::ClientClosed, None),
            (Error::new_down(ErrorType::ReadTimedout), Cut::None, End::Timeout, Some(408)),
            (Error::new_down(ErrorType::InvalidHTTPHeader), Cut::None, End::Refused, Some(400)),
            (Error::new_down(ErrorType::ReadError), Cut::Deadline, End::Timeout, Some(504)),
            (Error::new_down(ErrorType::WriteError), Cut::WriteIdle, End::Timeout, None),
            (Error::new_in(ErrorType::InternalError), Cut::None, End::Internal, Some(500)),
        ] {
            let failure = Failure::of(&error, cut);
            assert_eq!((failure.end, status(&failure)), (end, answer), "{error}");
        }
    }
}
