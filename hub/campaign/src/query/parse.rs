//! Text to query: words, then a descent by rule. Errors name the character at which they were noticed.

use super::{Name, Node, Op, TAGS};
use crate::limits::{QUERY_BYTES_MAX, QUERY_DEPTH_MAX, QUERY_TERMS_MAX};

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// Longer than its bound.
    #[error("is longer than {QUERY_BYTES_MAX} bytes")]
    TooLong,
    /// More terms than its bound.
    #[error(
        "has more than {QUERY_TERMS_MAX} terms (at character {at}); set a tag on those devices and ask for the tag"
    )]
    TooMany {
        /// Where, in characters from 1.
        at: usize,
    },
    /// Deeper than its bound.
    #[error("has more than {QUERY_DEPTH_MAX} brackets and negations within one another (at character {at})")]
    TooDeep {
        /// Where, in characters from 1.
        at: usize,
    },
    /// A quote that does not end.
    #[error("has a quote at character {at} that does not end")]
    Quote {
        /// Where, in characters from 1.
        at: usize,
    },
    /// Something else was expected.
    #[error("has {found} at character {at}, where {expected} should be")]
    Unexpected {
        /// Where, in characters from 1.
        at: usize,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
}

/// Words that mean something by themselves.
const RESERVED: [&str; 5] = ["and", "or", "not", "in", "all"];
/// Names that are no attribute.
const FIELDS: [&str; 4] = ["id", "class", "model", "version"];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/')
}

/// Whether an attribute's name can be written as it is.
pub(super) fn is_plain(name: &str) -> bool {
    let name_of_ours = RESERVED.contains(&name) || FIELDS.contains(&name);
    !name.is_empty() && name.chars().all(is_word) && !name_of_ours
}

/// As a value is written.
pub(super) fn quoted(value: &str) -> String {
    if !value.is_empty() && value.chars().all(is_word) && !RESERVED.contains(&value) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Quoted(text) => format!("{text:?}"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        }
    }

    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found == word)
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, InvalidQuery> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().enumerate().map(|(at, c)| (at + 1, c)).peekable();
    let mut end = 1;
    while let Some((at, c)) = chars.next() {
        end = at + 1;
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Sign("("),
            ')' => Token::Sign(")"),
            ',' => Token::Sign(","),
            ':' => Token::Sign(":"),
            '=' => Token::Sign("="),
            '!' | '<' | '>' => {
                let equal = chars.next_if(|(_, next)| *next == '=').is_some();
                match (c, equal) {
                    ('!', true) => Token::Sign("!="),
                    ('<', true) => Token::Sign("<="),
                    ('<', false) => Token::Sign("<"),
                    ('>', true) => Token::Sign(">="),
                    ('>', false) => Token::Sign(">"),
                    _ => {
                        let (found, expected) = ("`!`".to_owned(), "`!=` or `not`");
                        return Err(InvalidQuery::Unexpected { at, found, expected });
                    }
                }
            }
            '"' => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        None => return Err(InvalidQuery::Quote { at }),
                        Some((_, '"')) => break,
                        Some((_, '\\')) => {
                            value.push(chars.next().ok_or(InvalidQuery::Quote { at })?.1);
                        }
                        Some((_, c)) => value.push(c),
                    }
                }
                Token::Quoted(value)
            }
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some((_, c)) = chars.next_if(|(_, next)| is_word(*next)) {
                    word.push(c);
                }
                Token::Word(word)
            }
            other => {
                let (found, expected) = (format!("{other:?}"), "a name, a value or a sign");
                return Err(InvalidQuery::Unexpected { at, found, expected });
            }
        };
        tokens.push((at, token));
    }
    tokens.push((end.max(text.chars().count() + 1), Token::End));
    Ok(tokens)
}

pub(super) fn parse(text: &str) -> Result<Node, InvalidQuery> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(InvalidQuery::TooLong);
    }
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), terms: 0, end: 0 };
    let node = parser.any(0)?;
    let (at, token) = parser.next();
    if token != Token::End {
        return Err(unexpected(at, &token, "`and`, `or` or the end"));
    }
    // The normal form may be longer, as by brackets, and has to be readable from where it is kept.
    if node.to_string().len() > QUERY_BYTES_MAX {
        return Err(InvalidQuery::TooLong);
    }
    Ok(node)
}

fn unexpected(at: usize, token: &Token, expected: &'static str) -> InvalidQuery {
    InvalidQuery::Unexpected { at, found: token.shown(), expected }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
    terms: usize,
    /// Where the text ends.
    end: usize,
}

impl Parser {
    fn next(&mut self) -> (usize, Token) {
        let next = self.tokens.next().unwrap_or((self.end, Token::End));
        self.end = next.0;
        next
    }

    fn takes(&mut self, wanted: impl Fn(&Token) -> bool) -> bool {
        self.tokens.next_if(|(_, token)| wanted(token)).is_some()
    }

    fn any(&mut self, depth: usize) -> Result<Node, InvalidQuery> {
        let mut nodes = vec![self.every(depth)?];
        while self.takes(|token| token.is("or")) {
            nodes.push(self.every(depth)?);
        }
        Ok(flat(nodes, Node::Any, |node| match node {
            Node::Any(nodes) => Ok(nodes),
            other => Err(other),
        }))
    }

    fn every(&mut self, depth: usize) -> Result<Node, InvalidQuery> {
        let mut nodes = vec![self.not(depth)?];
        while self.takes(|token| token.is("and")) {
            nodes.push(self.not(depth)?);
        }
        Ok(flat(nodes, Node::Every, |node| match node {
            Node::Every(nodes) => Ok(nodes),
            other => Err(other),
        }))
    }

    fn not(&mut self, depth: usize) -> Result<Node, InvalidQuery> {
        let (at, token) = self.next();
        if depth > QUERY_DEPTH_MAX {
            return Err(InvalidQuery::TooDeep { at });
        }
        match token {
            Token::Word(word) if word == "not" => Ok(Node::Not(Box::new(self.not(depth + 1)?))),
            Token::Sign("(") => {
                let node = self.any(depth + 1)?;
                self.sign(")", "`)`, `and` or `or`")?;
                Ok(node)
            }
            Token::Word(word) => self.term(at, word),
            other => Err(unexpected(at, &other, "a name, `not` or `(`")),
        }
    }

    fn term(&mut self, at: usize, word: String) -> Result<Node, InvalidQuery> {
        self.terms += 1;
        if self.terms > QUERY_TERMS_MAX {
            return Err(InvalidQuery::TooMany { at });
        }
        if word == "all" {
            return Ok(Node::All);
        }
        if RESERVED.contains(&word.as_str()) {
            return Err(unexpected(at, &Token::Word(word), "a name, `not` or `(`"));
        }
        if word == TAGS && self.takes(|token| *token == Token::Sign(":")) {
            return Ok(Node::Compare(Name::Attribute(word), Op::Is, self.value()?));
        }
        let name = match word.as_str() {
            "id" => Name::Id,
            "class" => Name::Class,
            "model" => Name::Model,
            "version" => Name::Version,
            "attribute" if self.takes(|token| *token == Token::Sign(":")) => Name::Attribute(self.value()?),
            _ => Name::Attribute(word),
        };
        let (at, token) = self.next();
        let op = match token {
            Token::Sign("=") => Op::Is,
            Token::Sign("!=") => Op::IsNot,
            Token::Sign("<") => Op::Below,
            Token::Sign("<=") => Op::AtMost,
            Token::Sign(">") => Op::Above,
            Token::Sign(">=") => Op::AtLeast,
            Token::Word(word) if word == "in" => return self.one_of(name),
            other => return Err(unexpected(at, &other, "`=`, `!=`, `<`, `<=`, `>`, `>=` or `in`")),
        };
        Ok(Node::Compare(name, op, self.value()?))
    }

    fn one_of(&mut self, name: Name) -> Result<Node, InvalidQuery> {
        self.sign("(", "`(` and values")?;
        let mut values = vec![self.value()?];
        while self.takes(|token| *token == Token::Sign(",")) {
            self.terms += 1;
            let value = self.value()?;
            if self.terms > QUERY_TERMS_MAX {
                return Err(InvalidQuery::TooMany { at: self.end });
            }
            values.push(value);
        }
        self.sign(")", "`,` or `)`")?;
        values.sort();
        values.dedup();
        Ok(Node::OneOf(name, values))
    }

    fn value(&mut self) -> Result<String, InvalidQuery> {
        match self.next() {
            (_, Token::Quoted(value)) => Ok(value),
            (_, Token::Word(word)) if !RESERVED.contains(&word.as_str()) => Ok(word),
            (at, other) => {
                Err(unexpected(at, &other, "a value (in quotes if it is `and`, `or` or the like)"))
            }
        }
    }

    fn sign(&mut self, sign: &'static str, expected: &'static str) -> Result<(), InvalidQuery> {
        match self.next() {
            (_, Token::Sign(found)) if found == sign => Ok(()),
            (at, other) => Err(unexpected(at, &other, expected)),
        }
    }
}

/// One node is itself, and a list within a list of its kind is one list.
fn flat(nodes: Vec<Node>, of: fn(Vec<Node>) -> Node, open: fn(Node) -> Result<Vec<Node>, Node>) -> Node {
    let mut flat = Vec::with_capacity(nodes.len());
    for node in nodes {
        match open(node) {
            Ok(inner) => flat.extend(inner),
            Err(node) => flat.push(node),
        }
    }
    match flat.len() {
        1 => flat.pop().unwrap_or(Node::All),
        _ => of(flat),
    }
}
