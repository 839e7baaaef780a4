//! Makes a tree of the tokens, complaining in the words of Go's `text/template/parse`.

use std::collections::BTreeMap;

use super::ast::{Block, Branch, Command, Expression, Node, Pipeline, Term};
use super::functions;
use super::lex::{Kind, Token, lex};
use super::number;
use super::quote::{quote, unquote};

/// The templates of a text: the main one and those it defines.
#[derive(Debug)]
pub(super) struct Parsed {
    pub main: Block,
    pub defined: BTreeMap<String, Block>,
}

/// Parses `text`; the error is what Go says without `template: `.
pub(super) fn parse(name: &str, text: &str) -> Result<Parsed, String> {
    let mut parser = Parser {
        tokens: lex(text),
        at: 0,
        variables: vec!["$".into()],
        range_depth: 0,
        action_line: 0,
        name,
        defined: BTreeMap::new(),
    };
    match parser.top() {
        Ok(main) => Ok(Parsed { main, defined: parser.defined }),
        Err(message) => Err(format!("{name}:{}: {message}", parser.last_line())),
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    range_depth: usize,
    action_line: usize,
    name: &'a str,
    defined: BTreeMap<String, Block>,
}

/// How a list of nodes ended.
enum Ending {
    End,
    /// `{{else}}`, or `{{else if` and `{{else with`, whose keyword is next.
    Else,
}

enum Item {
    Node(Option<Node>),
    Ending(Ending),
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn peek_solid(&mut self) -> Token {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.peek().clone()
    }

    fn next_solid(&mut self) -> Token {
        self.peek_solid();
        self.next()
    }

    fn last_line(&self) -> usize {
        self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].line
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T> {
        if token.kind == Kind::Error {
            let mut extra = String::new();
            if self.action_line != 0 && self.action_line != token.line {
                let started = format!(" started at {}:{}", self.name, self.action_line);
                let ends_so = token.text.ends_with(" action");
                extra = if ends_so { started } else { format!(" in action{started}") };
            }
            return Err(format!("{}{extra}", token.text));
        }
        Err(format!("unexpected {} in {context}", show(token)))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token> {
        let token = self.next_solid();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn top(&mut self) -> Result<Block> {
        let mut main = Block::new();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::LeftDelimiter {
                let begin = self.at;
                let line = self.next().line;
                if self.peek_solid().text == "define" && self.peek().kind == Kind::Keyword {
                    self.action_line = line;
                    self.next();
                    self.define()?;
                    continue;
                }
                self.at = begin;
            }
            match self.item()? {
                Item::Node(node) => main.extend(node),
                Item::Ending(Ending::End) => return Err("unexpected {{end}}".into()),
                Item::Ending(Ending::Else) => return Err("unexpected {{else}}".into()),
            }
        }
        Ok(main)
    }

    fn define(&mut self) -> Result<()> {
        let context = "define clause";
        let (_, name) = self.template_name(context)?;
        self.expect(Kind::RightDelimiter, context)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let (body, ending) = self.list()?;
        if matches!(ending, Ending::Else) {
            return Err("unexpected {{else}} in define clause".into());
        }
        self.variables = outer;
        self.add(name, body)
    }

    fn add(&mut self, name: String, body: Block) -> Result<()> {
        let is_empty = |block: &Block| {
            block.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.defined.get(&name) {
            Some(old) if !is_empty(old) && !is_empty(&body) => {
                Err(format!("multiple definition of template {}", quote(&name)))
            }
            Some(old) if !is_empty(old) => Ok(()),
            _ => {
                self.defined.insert(name, body);
                Ok(())
            }
        }
    }

    /// Nodes up to `{{end}}` or `{{else`.
    fn list(&mut self) -> Result<(Block, Ending)> {
        let mut nodes = Block::new();
        while self.peek_solid().kind != Kind::End {
            match self.item()? {
                Item::Node(node) => nodes.extend(node),
                Item::Ending(ending) => return Ok((nodes, ending)),
            }
        }
        self.next();
        Err("unexpected EOF".into())
    }

    fn item(&mut self) -> Result<Item> {
        let token = self.next_solid();
        match token.kind {
            Kind::Text => Ok(Item::Node(Some(Node::Text(token.text)))),
            Kind::LeftDelimiter => {
                self.action_line = token.line;
                let item = self.action()?;
                self.action_line = 0;
                Ok(item)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item> {
        let token = self.peek_solid();
        if token.kind != Kind::Keyword {
            let pipeline = self.pipeline("command", Kind::RightDelimiter)?;
            return Ok(Item::Node(Some(Node::Action(pipeline))));
        }
        self.next();
        let node = match token.text.as_str() {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => Node::Range(self.branch("range")?),
            "template" => self.template()?,
            "block" => self.block()?,
            "break" => self.jump("break", Node::Break)?,
            "continue" => self.jump("continue", Node::Continue)?,
            "end" => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::Ending(Ending::End));
            }
            "else" => {
                let next = self.peek_solid();
                if next.kind != Kind::Keyword || !matches!(next.text.as_str(), "if" | "with") {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                return Ok(Item::Ending(Ending::Else));
            }
            _ => return self.unexpected(&token, "command"),
        };
        Ok(Item::Node(Some(node)))
    }

    fn jump(&mut self, word: &str, node: Node) -> Result<Node> {
        let token = self.next_solid();
        if token.kind != Kind::RightDelimiter {
            return self.unexpected(&token, &format!("{{{{{word}}}}}"));
        }
        if self.range_depth == 0 {
            return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn branch(&mut self, context: &str) -> Result<Branch> {
        let known = self.variables.len();
        let pipeline = self.pipeline(context, Kind::RightDelimiter)?;
        let depth = usize::from(context == "range");
        self.range_depth += depth;
        let (body, ending) = self.list()?;
        self.range_depth -= depth;
        let otherwise = match ending {
            Ending::End => None,
            Ending::Else => Some(self.otherwise(context)?),
        };
        self.variables.truncate(known);
        Ok(Branch { pipeline, body, otherwise })
    }

    fn otherwise(&mut self, context: &str) -> Result<Block> {
        // `{{else if X}}` is `{{else}}{{if X}}` with one `{{end}}` for both.
        let next = self.peek().clone();
        if next.kind == Kind::Keyword && next.text == context {
            self.next();
            let branch = self.branch(context)?;
            let node = if context == "if" { Node::If(branch) } else { Node::With(branch) };
            return Ok(vec![node]);
        }
        match self.list()? {
            (nodes, Ending::End) => Ok(nodes),
            (_, Ending::Else) => Err("expected end; found {{else}}".into()),
        }
    }

    fn template_name(&mut self, context: &str) -> Result<(usize, String)> {
        let token = self.next_solid();
        match token.kind {
            Kind::String | Kind::RawString => {
                Ok((token.position, unquote(&token.text).ok_or("invalid syntax")?))
            }
            _ => self.unexpected(&token, context),
        }
    }

    fn template(&mut self) -> Result<Node> {
        let context = "template clause";
        let (position, name) = self.template_name(context)?;
        let mut pipeline = None;
        if self.peek_solid().kind == Kind::RightDelimiter {
            self.next();
        } else {
            pipeline = Some(self.pipeline(context, Kind::RightDelimiter)?);
        }
        Ok(Node::Template { position, name, pipeline })
    }

    fn block(&mut self) -> Result<Node> {
        let context = "block clause";
        let (position, name) = self.template_name(context)?;
        let pipeline = self.pipeline(context, Kind::RightDelimiter)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let (body, ending) = self.list()?;
        if matches!(ending, Ending::Else) {
            return Err("unexpected {{else}} in block clause".into());
        }
        self.variables = outer;
        self.add(name.clone(), body)?;
        Ok(Node::Template { position, name, pipeline: Some(pipeline) })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipeline> {
        let position = self.peek_solid().position;
        let (variables, assigns) = self.declarations(context)?;
        let mut pipeline = Pipeline { position, assigns, variables, commands: Vec::new() };
        loop {
            let token = self.peek_solid();
            match token.kind {
                kind if kind == end => {
                    self.next();
                    check(&pipeline, context)?;
                    return Ok(pipeline);
                }
                Kind::Bool
                | Kind::CharacterConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    let command = self.command()?;
                    pipeline.commands.push(command);
                }
                _ => {
                    self.next();
                    return self.unexpected(&token, context);
                }
            }
        }
    }

    /// `$x :=`, `$x =`, and in `range` also `$i, $x :=`.
    fn declarations(&mut self, context: &str) -> Result<(Vec<String>, bool)> {
        let mut declared = Vec::new();
        while self.peek_solid().kind == Kind::Variable {
            let begin = self.at;
            let name = self.next().text;
            let token = self.peek_solid();
            match token.kind {
                Kind::Assign | Kind::Declare => {
                    self.next();
                    self.variables.push(name.clone());
                    declared.push(name);
                    return Ok((declared, token.kind == Kind::Assign));
                }
                Kind::Character if token.text == "," => {
                    self.next();
                    self.variables.push(name.clone());
                    declared.push(name);
                    if context != "range" || declared.len() >= 2 {
                        return Err(format!("too many declarations in {context}"));
                    }
                    let next = self.peek_solid().kind;
                    if !matches!(
                        next,
                        Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis
                    ) {
                        return Err("range can only initialize variables".into());
                    }
                }
                _ => {
                    self.at = begin;
                    break;
                }
            }
        }
        Ok((declared, false))
    }

    fn command(&mut self) -> Result<Command> {
        let mut words = Vec::new();
        loop {
            self.peek_solid();
            words.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParenthesis => {
                    self.at -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if words.is_empty() { Err("empty command".into()) } else { Ok(Command { words }) }
    }

    fn operand(&mut self) -> Result<Option<Expression>> {
        let Some(mut node) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(node));
        }
        let position = self.peek().position;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.next().text[1..].to_owned());
        }
        match &mut node.term {
            Term::Field(fields) | Term::Variable(fields) => {
                fields.extend(names);
                node.position = position;
            }
            Term::Function(_) | Term::Pipeline(_) | Term::Chain(..) => {
                node = Expression { position, term: Term::Chain(Box::new(node), names) };
            }
            Term::Dot | Term::Nil | Term::Bool(_) | Term::Number(_) | Term::Text { .. } => {
                return Err(format!("unexpected . after term {}", quote(&node.to_string())));
            }
        }
        Ok(Some(node))
    }

    fn term(&mut self) -> Result<Option<Expression>> {
        let token = self.peek_solid();
        let text = token.text.as_str();
        self.next();
        let term = match token.kind {
            Kind::Identifier if functions::exists(text) => Term::Function(text.into()),
            Kind::Identifier => return Err(format!("function {} not defined", quote(text))),
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Variable if self.variables.iter().any(|known| known == text) => {
                Term::Variable(vec![text.into()])
            }
            Kind::Variable => return Err(format!("undefined variable {}", quote(text))),
            Kind::Field => Term::Field(vec![text[1..].into()]),
            Kind::Bool => Term::Bool(text == "true"),
            Kind::CharacterConstant | Kind::Number => Term::Number(number::read(&token)?),
            Kind::LeftParenthesis => {
                Term::Pipeline(self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?)
            }
            Kind::String | Kind::RawString => {
                Term::Text { quoted: text.into(), text: unquote(text).ok_or("invalid syntax")? }
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Expression { position: token.position, term }))
    }
}

/// A token as Go's errors show it.
fn show(token: &Token) -> String {
    match token.kind {
        Kind::End => "EOF".into(),
        Kind::Keyword => format!("<{}>", token.text),
        _ if token.text.len() > 10 => {
            let begin: String = token.text.chars().take(10).collect();
            format!("{}...", quote(&begin))
        }
        _ => quote(&token.text),
    }
}

fn check(pipeline: &Pipeline, context: &str) -> Result<()> {
    if pipeline.commands.is_empty() {
        return Err(format!("missing value for {context}"));
    }
    for (at, command) in pipeline.commands.iter().enumerate().skip(1) {
        if matches!(
            command.words[0].term,
            Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Text { .. }
        ) {
            return Err(format!("non executable command in pipeline stage {}", at + 1));
        }
    }
    Ok(())
}
