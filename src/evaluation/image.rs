//! An input seen as an image: channels, rows and columns, and where in the row of numbers each lies.

/// Sides of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::evaluation) struct Image {
    pub(in crate::evaluation) channels: usize,
    pub(in crate::evaluation) height: usize,
    pub(in crate::evaluation) width: usize,
    /// Whether the channels of one pixel lie side by side.
    channels_last: bool,
}

/// A rectangle in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::evaluation) struct Window {
    pub(in crate::evaluation) y: usize,
    pub(in crate::evaluation) x: usize,
    pub(in crate::evaluation) height: usize,
    pub(in crate::evaluation) width: usize,
}

impl Image {
    /// Three sides are channels, rows and columns, or rows, columns and channels where only that leaves four channels at
    /// most; two are rows and columns; anything else is one row.
    pub(in crate::evaluation) fn of(shape: &[usize]) -> Self {
        let (channels, height, width, channels_last) = match *shape {
            [height, width, channels] if channels <= 4 && shape.first() > Some(&4) => {
                (channels, height, width, true)
            }
            [channels, height, width] => (channels, height, width, false),
            [height, width] => (1, height, width, false),
            _ => (1, 1, shape.iter().product(), false),
        };
        Self {
            channels,
            height,
            width,
            channels_last,
        }
    }

    /// Numbers of the input.
    pub(in crate::evaluation) fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Where a number lies.
    pub(in crate::evaluation) fn place(&self, channel: usize, y: usize, x: usize) -> usize {
        if self.channels_last {
            (y * self.width + x) * self.channels + channel
        } else {
            (channel * self.height + y) * self.width + x
        }
    }

    /// Height and width of the square that covers a share of the image: never all of a side, so that there is something
    /// to compare it with, and at least one pixel. Of a single row or column it is a piece.
    pub(in crate::evaluation) fn square(&self, share: f64) -> (usize, usize) {
        let most = |side: usize| side.saturating_sub(1).max(1);
        match (self.height, self.width) {
            (1, width) => (1, round(share * real(width)).clamp(1, most(width))),
            (height, 1) => (round(share * real(height)).clamp(1, most(height)), 1),
            (height, width) => {
                let side =
                    round((share * real(height) * real(width)).sqrt()).clamp(1, most(height.min(width)));
                (side, side)
            }
        }
    }
}

impl Window {
    /// A whole column.
    pub(in crate::evaluation) fn column(image: &Image, x: usize) -> Self {
        Self {
            y: 0,
            x,
            height: image.height,
            width: 1,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sides of images are far below 2^53")]
fn real(side: usize) -> f64 {
    side as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a length, and what is too large is clamped by whoever asks"
)]
fn round(length: f64) -> usize {
    length.round() as usize
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(&[1, 8, 8] => (1, 8, 8, false); "grey")]
    #[test_case(&[3, 224, 224] => (3, 224, 224, false); "channels first")]
    #[test_case(&[224, 224, 3] => (3, 224, 224, true); "channels last")]
    #[test_case(&[3, 48, 4] => (3, 48, 4, false); "first when both would do")]
    #[test_case(&[28, 28] => (1, 28, 28, false); "no channels")]
    #[test_case(&[30] => (1, 1, 30, false); "a table")]
    #[test_case(&[2, 3, 4, 5] => (1, 1, 120, false); "anything else")]
    fn images(shape: &[usize]) -> (usize, usize, usize, bool) {
        let image = Image::of(shape);
        assert_eq!(image.len(), shape.iter().product::<usize>());
        (image.channels, image.height, image.width, image.channels_last)
    }

    #[test]
    fn places_are_those_of_the_shape() {
        assert_eq!(Image::of(&[3, 48, 192]).place(2, 47, 191), 3 * 48 * 192 - 1);
        assert_eq!(Image::of(&[48, 192, 3]).place(1, 0, 2), 7);
    }

    #[test_case(&[1, 8, 8], 0.8 => (7, 7); "the first of the paper's, all but one row")]
    #[test_case(&[1, 8, 8], 0.05 => (2, 2))]
    #[test_case(&[1, 8, 8], 0.001 => (1, 1); "one pixel at least")]
    #[test_case(&[3, 48, 192], 0.8 => (47, 47); "wide")]
    #[test_case(&[3, 192, 48], 0.8 => (47, 47); "high")]
    #[test_case(&[30], 0.8 => (1, 24); "one row")]
    #[test_case(&[1, 30, 1], 0.5 => (15, 1); "one column")]
    #[test_case(&[1, 1, 1], 0.8 => (1, 1); "one pixel")]
    #[test_case(&[2, 2], 0.8 => (1, 1); "four pixels")]
    fn squares(shape: &[usize], share: f64) -> (usize, usize) {
        Image::of(shape).square(share)
    }
}
