//! Any bytes in any pieces: the decoder neither panics nor depends on where they are cut.

use agentmq_net::{FrameDecoder, FrameError};

fn decode(bytes: &[u8], cuts: &[u8]) -> (Vec<u8>, Option<FrameError>, bool) {
    let mut decoder = FrameDecoder::new(4096);
    let (mut payload, mut closed) = (Vec::new(), false);
    let mut cuts = cuts.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| usize::from(*cut) + 1);
        let (piece, tail) = rest.split_at(cut.min(rest.len()));
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece) {
            Ok(decoded) => {
                assert!(decoded.payload <= piece.len());
                assert!(decoded.ping.is_none_or(|body| body.len() <= 125));
                assert!(!(closed && decoded.payload > 0));
                closed |= decoded.close.is_some();
                payload.extend(&piece[..decoded.payload]);
            }
            Err(error) => return (payload, Some(error), closed),
        }
        rest = tail;
    }
    (payload, None, closed)
}

#[test]
fn fuzz_ws_frame() {
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(bytes, cuts)| {
        let (whole, error, closed) = decode(bytes, &[]);
        let (pieces, piece_error, piece_closed) = decode(bytes, cuts);
        assert_eq!((error, closed), (piece_error, piece_closed));
        // On an error the payload of the failing call is dropped.
        assert!(if error.is_none() { whole == pieces } else { pieces.starts_with(&whole) });
    });
}
