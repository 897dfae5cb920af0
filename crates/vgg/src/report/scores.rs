//! What a network said of the pictures of a split, in numbers: right and wrong, class by class, and the
//! pictures that it did worst on. Memory does not grow with the number of pictures.

use super::calibration::Calibration;
use std::collections::BTreeMap;
use vgg_train::evaluate::{largest, log_sum_exp};

/// Most pictures that are remembered one by one: of the wrong ones, and of the right ones.
pub(super) const MOST_ANSWERS: usize = 24;

/// Most classes that an answer names.
const MOST_GUESSES: usize = 3;

/// The answers to the pictures of a split, added one after the other.
#[derive(Clone, Debug)]
pub struct Scores {
    classes: usize,
    /// Number of pictures by their class and the one they were taken for.
    confusion: BTreeMap<(usize, usize), usize>,
    loss: f64,
    calibration: Calibration,
    mistakes: Vec<Answer>,
    doubts: Vec<Answer>,
}

/// What the network said of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The picture's position in its split.
    pub index: usize,
    /// Its class.
    pub label: usize,
    /// The most probable classes with their probabilities, the first three of them.
    pub guesses: Vec<(usize, f64)>,
    /// Softmax cross-entropy: minus the logarithm of the class's probability.
    pub loss: f64,
}

/// One class, as far as its pictures were told.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassScore {
    /// The class.
    pub class: usize,
    /// Number of its pictures.
    pub pictures: usize,
    /// Share of the pictures taken for this class that are of it; `None` when there is none.
    pub precision: Option<f64>,
    /// Share of the pictures of this class that were taken for it; `None` when there is none.
    pub recall: Option<f64>,
    /// Harmonic mean of both: `2 · right / (pictures of it + pictures taken for it)`.
    pub f1: Option<f64>,
    /// The other class that its pictures were most often taken for (the first of equal ones), and
    /// how many of them were.
    pub most_taken_for: Option<(usize, usize)>,
}

impl Scores {
    /// No answers yet, of a network with `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            confusion: BTreeMap::new(),
            loss: 0.0,
            calibration: Calibration::default(),
            mistakes: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// Adds the answer to the picture at position `index`, given its class and its logits, one for
    /// each class. The class it is taken for has the largest logit (the first of equal ones).
    pub fn add(&mut self, index: usize, label: usize, logits: &[f32]) {
        let logarithm = log_sum_exp(logits);
        let probability = |class: usize| (f64::from(logits[class]) - logarithm).exp();
        let taken_for = largest(logits);
        let loss = logarithm - f64::from(logits[label]);
        self.loss += loss;
        *self.confusion.entry((label, taken_for)).or_default() += 1;
        self.calibration.add(probability(taken_for), taken_for == label);
        let worst = if taken_for == label { &mut self.doubts } else { &mut self.mistakes };
        if worst.len() < MOST_ANSWERS || worst.last().is_some_and(|last| last.loss < loss) {
            let guesses = best(logits).into_iter().map(|class| (class, probability(class))).collect();
            let place = worst.partition_point(|answer| answer.loss >= loss);
            worst.insert(place, Answer { index, label, guesses, loss });
            worst.truncate(MOST_ANSWERS);
        }
    }

    /// Number of classes of the network.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of pictures.
    pub fn pictures(&self) -> usize {
        self.confusion.values().sum()
    }

    /// Number of pictures that were taken for what they are.
    pub fn right(&self) -> usize {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Mean softmax cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss / self.pictures() as f64
    }

    /// Number of pictures of the class `label` that were taken for the class `taken_for`.
    pub fn count(&self, label: usize, taken_for: usize) -> usize {
        self.confusion.get(&(label, taken_for)).copied().unwrap_or(0)
    }

    /// Class, the other one it was taken for, and how often: the most frequent first.
    pub fn confused_pairs(&self) -> Vec<(usize, usize, usize)> {
        let wrong = self.confusion.iter().filter(|((label, taken_for), _)| label != taken_for);
        let mut pairs: Vec<_> =
            wrong.map(|(&(label, taken_for), &count)| (label, taken_for, count)).collect();
        // A stable sort: equal ones stay in the order of the classes.
        pairs.sort_by_key(|&(.., count)| std::cmp::Reverse(count));
        pairs
    }

    /// Every class of the network in order.
    pub fn class_scores(&self) -> Vec<ClassScore> {
        let (mut pictures, mut taken) = (vec![0; self.classes], vec![0; self.classes]);
        for (&(label, taken_for), &count) in &self.confusion {
            pictures[label] += count;
            taken[taken_for] += count;
        }
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        let mut scores: Vec<ClassScore> = (0..self.classes)
            .map(|class| {
                let right = self.count(class, class);
                ClassScore {
                    class,
                    pictures: pictures[class],
                    precision: share(right, taken[class]),
                    recall: share(right, pictures[class]),
                    f1: share(2 * right, pictures[class] + taken[class]),
                    most_taken_for: None,
                }
            })
            .collect();
        for (label, taken_for, count) in self.confused_pairs() {
            scores[label].most_taken_for.get_or_insert((taken_for, count));
        }
        scores
    }

    /// How far confidence can be trusted.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The wrong answers with the largest loss, that first.
    pub fn mistakes(&self) -> &[Answer] {
        &self.mistakes
    }

    /// The right answers with the largest loss, that first.
    pub fn doubts(&self) -> &[Answer] {
        &self.doubts
    }
}

/// The classes with the largest logits, the largest first, of equal ones the first.
fn best(logits: &[f32]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(MOST_GUESSES + 1);
    for (class, &logit) in logits.iter().enumerate() {
        let place = best.partition_point(|&other| logits[other] >= logit);
        if place < MOST_GUESSES {
            best.insert(place, class);
            best.truncate(MOST_GUESSES);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of three classes whose softmax is simple: logarithms of shares.
    fn logits(shares: [f32; 3]) -> [f32; 3] {
        shares.map(f32::ln)
    }

    /// Two pictures of class 0 (one taken for 1), three of class 1 (one for 0, one for 2), none of 2.
    fn five() -> Scores {
        let mut scores = Scores::new(3);
        for (index, (label, shares)) in [
            (0, [0.5, 0.25, 0.25]),
            (0, [0.25, 0.5, 0.25]),
            (1, [0.125, 0.75, 0.125]),
            (1, [0.75, 0.125, 0.125]),
            (1, [0.25, 0.25, 0.5]),
        ]
        .into_iter()
        .enumerate()
        {
            scores.add(index, label, &logits(shares));
        }
        scores
    }

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-6
    }

    #[test]
    fn counts_and_loss_are_those_of_the_hand() {
        let scores = five();
        assert_eq!((scores.pictures(), scores.right()), (5, 2));
        assert_eq!(
            [scores.count(0, 0), scores.count(0, 1), scores.count(1, 2), scores.count(2, 2)],
            [1, 1, 1, 0]
        );
        assert_eq!(scores.confused_pairs(), [(0, 1, 1), (1, 0, 1), (1, 2, 1)]);
        // −ln of 1/2, 1/4, 3/4, 1/8 and 1/4.
        let expected = (2.0 + 4.0 + 4.0 / 3.0 + 8.0 + 4.0_f64).ln();
        assert!(expected > 0.0);
        let sum = [2.0, 4.0, 4.0 / 3.0, 8.0, 4.0_f64].map(f64::ln).iter().sum::<f64>();
        assert!(near(scores.loss(), sum / 5.0), "{}", scores.loss());
    }

    #[test]
    fn precision_recall_and_f1_are_those_of_the_hand() {
        let found = five().class_scores();
        let class = |class, pictures, precision, recall, f1, most_taken_for| ClassScore {
            class,
            pictures,
            precision,
            recall,
            f1,
            most_taken_for,
        };
        let expected = [
            // One of two taken for 0 is right, one of two of class 0.
            class(0, 2, Some(0.5), Some(0.5), Some(0.5), Some((1, 1))),
            class(1, 3, Some(0.5), Some(1.0 / 3.0), Some(2.0 / 5.0), Some((0, 1))),
            // No picture is of class 2: nothing can be said of its recall.
            class(2, 0, Some(0.0), None, Some(0.0), None),
        ];
        assert_eq!(found, expected);
        let never = Scores::new(2).class_scores();
        assert_eq!((never[0].precision, never[0].recall, never[0].f1), (None, None, None));
    }

    #[test]
    fn the_worst_come_first_with_their_best_guesses() {
        let scores = five();
        let indices: Vec<usize> = scores.mistakes().iter().map(|answer| answer.index).collect();
        assert_eq!(indices, [3, 1, 4]);
        let worst = &scores.mistakes()[0];
        assert_eq!(worst.guesses.iter().map(|guess| guess.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(near(worst.guesses[0].1, 0.75) && near(worst.loss, 8.0_f64.ln()), "{worst:?}");
        assert_eq!(scores.doubts().iter().map(|answer| answer.index).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn only_the_worst_are_remembered() {
        let mut scores = Scores::new(2);
        for index in 0..100 {
            scores.add(index, 0, &[0.0, 1.0 + ((index * 37) % 100) as f32]);
        }
        let losses: Vec<usize> = scores.mistakes().iter().map(|answer| (answer.index * 37) % 100).collect();
        assert_eq!(losses, (100 - MOST_ANSWERS..100).rev().collect::<Vec<_>>());
        assert_eq!(scores.pictures(), 100);
    }
}
