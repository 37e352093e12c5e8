//! Greetings, small talk and little stories: the text that is about nothing in particular.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::tiny::problem::{Problem, Wording};
use crate::tiny::words::{ANIMALS, COLORS, FOODS, NAMES, OBJECTS, PEOPLE, PLACES, capital, fill, pick, pick_many};

/// A prompt in both wordings and its reply.
struct Talk {
    formal: &'static str,
    casual: &'static str,
    reply: &'static str,
}

const TALKS: &[Talk] = &[
    Talk {
        formal: "Hello! My name is {who} and I am in the {place}. How are you?",
        casual: "hey im {who} in the {place}, hows it going",
        reply: "Hello {who}! I am fine, thank you. Is it nice in the {place}?",
    },
    Talk {
        formal: "Good morning! I am {who} and I like {food}. Do you like {food}?",
        casual: "yo im {who}, u like {food}?",
        reply: "Good morning, {who}! Yes, {food} is very good.",
    },
    Talk {
        formal: "Today {friend} and I went to the {place}. It was a good day.",
        casual: "went to the {place} with {friend} today, was good",
        reply: "That is nice! Did you and {friend} eat {food} in the {place}?",
    },
    Talk {
        formal: "Thank you for your help. {friend} and I will go to the {place} now.",
        casual: "ok thanks, off to the {place} with {friend}",
        reply: "You are welcome. Have a good time in the {place}!",
    },
    Talk {
        formal: "What do you think of my {color} {object}? {friend} does not like it.",
        casual: "u like my {color} {object}? {friend} doesnt",
        reply: "I like it. A {color} {object} is very nice.",
    },
    Talk {
        formal: "I am sad. My {color} {animal} is not in the {place} any more.",
        casual: "im sad, my {color} {animal} is not in the {place} any more",
        reply: "I am sorry. I hope that the {animal} will come back to you.",
    },
];

const REQUESTS: &[(&str, &str)] = &[
    ("Tell me a story about a {color} {animal} and {who}.", "tell me a story with a {color} {animal} and {who}"),
    (
        "Write a little story. It is about {who} and a {color} {animal}.",
        "story pls, about {who} and a {color} {animal}",
    ),
];

const OPENINGS: &[&str] = &[
    "Once there was a {color} {animal} in the {place}.",
    "One day {who} went to the {place} and saw a {color} {animal}.",
    "{who} had a {color} {animal}. They were always together.",
    "In the {place} there was a {color} {animal}. It knew {who}.",
];

const MIDDLES: &[&str] = &[
    "At first the {animal} ran away, but after a day it came back.",
    "{who} gave {food} to the {animal}, and it was happy.",
    "The {animal} took the {object} of {who} and ran. {He} had to look for it.",
    "Then {friend} came. Now all of them were in the {place}.",
    "If it was cold, the {animal} went into the house and {who} made soup.",
    "Read this, said {friend}. It was a book about what we know of the {animal}.",
    "They had to choose one of these: stay here in the {place} or go home. Both were right.",
    "{who} and {friend} went to count the stars. They were done by morning.",
    "{who} had to write all of it down, but half of the book was missing.",
    "Find the {object}, said {friend}, and the {animal} did. It goes with the hat.",
    "The work was complete: {who} had made a hat for the {animal} that was as large as its body.",
    "Below the {place} there was a little road. The rest of the day they were there.",
];

const ENDINGS: &[&str] = &[
    "In the end they went home and were friends.",
    "In the end {who} and the {animal} were happy.",
    "That is how {who} got a new friend.",
    "{friend} was glad, and nothing was left of the {food}.",
];

/// A prompt that is about none of the topics, with its reply; both voices reply alike.
pub fn problem(rng: &mut ChaCha8Rng) -> Problem {
    let cast = Cast::draw(rng);
    let wording = Wording::draw(rng);
    let (formal, casual, reply) = if rng.random_bool(0.5) {
        let (formal, casual) = pick(rng, REQUESTS);
        (formal, casual, tell(rng, &cast))
    } else {
        let talk = &TALKS[rng.random_range(0..TALKS.len())];
        (talk.formal, talk.casual, cast.say(talk.reply))
    };
    let question = match wording {
        Wording::Formal => cast.say(formal),
        Wording::Casual => cast.say(casual).to_lowercase(),
    };
    Problem { wording, question, careful: reply.clone(), careless: reply, checks: Vec::new() }
}

/// A little story.
pub fn prose(rng: &mut ChaCha8Rng) -> String {
    let cast = Cast::draw(rng);
    tell(rng, &cast)
}

fn tell(rng: &mut ChaCha8Rng, cast: &Cast) -> String {
    let middles = rng.random_range(1..=3);
    let mut sentences = vec![pick(rng, OPENINGS)];
    sentences.extend(pick_many(rng, MIDDLES, middles));
    sentences.push(pick(rng, ENDINGS));
    sentences.iter().map(|sentence| cast.say(sentence)).collect::<Vec<_>>().join(" ")
}

/// The names and things in a text.
struct Cast {
    who: &'static str,
    he: String,
    friend: &'static str,
    animal: &'static str,
    color: &'static str,
    place: &'static str,
    food: &'static str,
    object: &'static str,
}

impl Cast {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (who, he, _) = pick(rng, PEOPLE);
        let others: Vec<_> = NAMES.iter().copied().filter(|name| *name != who).collect();
        Self {
            who,
            he: capital(he),
            friend: pick(rng, &others),
            animal: pick(rng, ANIMALS),
            color: pick(rng, COLORS),
            place: pick(rng, PLACES),
            food: pick(rng, FOODS),
            object: pick(rng, OBJECTS),
        }
    }

    fn say(&self, template: &str) -> String {
        fill(
            template,
            &[
                ("who", self.who),
                ("He", &self.he),
                ("friend", self.friend),
                ("animal", self.animal),
                ("color", self.color),
                ("place", self.place),
                ("food", self.food),
                ("object", self.object),
            ],
        )
    }
}
