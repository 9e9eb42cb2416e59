//! Choices that an input makes by itself: the same bytes always throw the same, so what broke a target breaks it again.

/// Throws that follow from the bytes they were made of.
pub struct Dice(u64);

impl Dice {
    pub fn of(data: &[u8]) -> Self {
        let hash = data
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Self(hash | 1)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// The bytes in pieces of which some are empty, most are small and a few are long.
    pub fn pieces<'d>(&mut self, mut data: &'d [u8]) -> Vec<&'d [u8]> {
        let mut pieces = Vec::new();
        while !data.is_empty() {
            let most = if self.below(4) == 0 { data.len() } else { data.len().min(12) };
            let (piece, rest) = data.split_at(self.below(most + 1));
            pieces.push(piece);
            data = rest;
        }
        pieces
    }
}

/// Every way of cutting that is tried: in one piece, byte by byte where that is not many, and at random.
pub fn cuts(data: &[u8]) -> Vec<Vec<&[u8]>> {
    /// Past this length a byte at a time takes long and tells nothing that small pieces do not.
    const SINGLE_BYTES_MAX: usize = 512;
    let mut dice = Dice::of(data);
    let mut cuts = vec![vec![data], dice.pieces(data), dice.pieces(data)];
    if data.len() <= SINGLE_BYTES_MAX {
        cuts.push(data.chunks(1).collect());
    }
    cuts
}
