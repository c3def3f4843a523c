/** Which programs a text for the shell starts. A reading of the syntax that this repository uses, not of all there is. */

/** Stands for what only the shell, or the program that made the text, can tell. */
export const UNKNOWN = "\u0000";

const BEFORE_A_COMMAND = new Set(["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"]);
const NO_COMMAND = new Set(["}", "fi", "done", "esac", "for", "case", "function", "[[", "in"]);
/** Builtins of bash and dash; those that run what follows them are in `WRAPPERS`. */
const BUILTINS = new Set(
  (
    ": . [ alias break cd continue declare echo eval exit export false getopts kill let local mapfile printf pwd read " +
    "readonly return set shift shopt source test times trap true type ulimit umask unset wait"
  ).split(" "),
);

/** Programs that start another: how many words beside options stand before it. */
const WRAPPERS: Readonly<Record<string, number>> = {
  ...{ command: 0, exec: 0, env: 0, nice: 0, nohup: 0, nsenter: 0, setpriv: 0, setsid: 0, strace: 0, unshare: 0 },
  ...{ chroot: 1, flock: 1, timeout: 1, xargs: 0 },
};
/** Options of theirs that have a word of their own. */
const OPTION_WITH_WORD = /^-[cEeKknoPsu]$|^--(bounding-set|inh-caps|propagation)$/;

/** The programs, by name or path, that a command of these words starts: the first word, and what that starts in turn. */
export function programsOf(words: readonly string[]): string[] {
  const [first = UNKNOWN, ...rest] = words;
  if (first.includes(UNKNOWN) && !first.startsWith("/")) return [];
  const name = first.slice(first.lastIndexOf("/") + 1);
  const own = BUILTINS.has(first) || first === "command" || first === "exec" ? [] : [first];
  if (name === "sh" || name === "bash") return [...own, ...shellOf(rest)];
  if (name === "ip" && rest[0] === "netns" && rest[1] === "exec") return [...own, ...programsOf(rest.slice(3))];
  const skipped = WRAPPERS[name];
  if (skipped === undefined || (name === "command" && rest[0] === "-v")) return own;
  return [...own, ...programsOf(afterOptions(rest).slice(skipped))];
}

function shellOf(words: readonly string[]): string[] {
  const option = words.findIndex((word) => /^-[a-z]*c$/.test(word));
  return option < 0 ? [] : programsOfShell(words[option + 1] ?? "");
}

function afterOptions(words: readonly string[]): string[] {
  const end = words.indexOf("--");
  if (end >= 0) return words.slice(end + 1);
  let at = 0;
  while (at < words.length) {
    const word = words[at] ?? "";
    if (OPTION_WITH_WORD.test(word)) at += 2;
    else if (word.startsWith("-") || /^\w+=/.test(word)) at += 1;
    else break;
  }
  return words.slice(at);
}

/** All programs that a text for the shell starts, functions of its own left out. */
export function programsOfShell(text: string): string[] {
  const functions = new Set([...text.matchAll(/^\s*(\w+)\(\)/gm)].map((match) => match[1]));
  return new Reader(text)
    .commands()
    .flatMap(programsOf)
    .filter((name) => !functions.has(name));
}

/** Splits a text into simple commands, each a list of words without quotes. */
class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  /** How many commands there were at the last newline or ";;": what follows may be a case's patterns. */
  #settled = 0;
  #words: string[] = [];
  #commands: string[][] = [];
  #heredocs: string[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  commands(): string[][] {
    while (this.#at < this.#text.length) this.#step();
    this.#end();
    return this.#commands;
  }

  #step(): void {
    const rest = this.#text.slice(this.#at);
    for (const [pattern, act] of this.#rules) {
      const found = pattern.exec(rest);
      if (found === null) continue;
      this.#at += found[0].length;
      act(found[1] ?? "");
      return;
    }
    this.#words.push(this.#word());
  }

  /** What stands between words, and what is to be done about it: the first that fits. */
  readonly #rules: readonly (readonly [RegExp, (inner: string) => void])[] = [
    [/^(?:[ \t]|\\\n)+/, () => {}],
    [/^#[^\n]*/, () => {}],
    [/^\n/, () => this.#endLine()],
    [/^<<-?[ \t]*["']?(\w+)["']?/, (mark) => void this.#heredocs.push(mark)],
    [/^\d*[<>]&[\d-]+/, () => {}],
    [/^(?:<[ \t]*)?[<>]\(/, () => this.#open()],
    [/^(?:\d*|&)(?:<<<|>>?|<)[ \t]*/, () => void this.#word()],
    [/^\(/, () => this.#open()],
    [/^\)/, () => this.#close()],
    [/^;;/, () => this.#settle()],
    [/^(?:&&|\|\||[;&|])/, () => this.#end()],
  ];

  #open(): void {
    this.#depth += 1;
    this.#end();
  }

  /** What was never opened stands after a case's patterns, which are no commands. */
  #close(): void {
    if (this.#depth === 0) {
      this.#words = [];
      this.#commands.length = this.#settled;
    } else this.#depth -= 1;
    this.#end();
  }

  #word(): string {
    let word = "";
    const start = this.#at;
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at] ?? "";
      if (/[\s;&|()<>]/.test(character)) break;
      if (character === "'") word += this.#until("'");
      else if (character === '"') word += this.#quoted();
      else if (character === "\\") {
        word += this.#text[this.#at + 1] ?? "";
        this.#at += 2;
      } else if (character === "$" || character === "`") word += this.#expansion();
      else {
        word += character;
        this.#at += 1;
      }
    }
    if (this.#at === start) this.#at += 1;
    return word;
  }

  #until(quote: string): string {
    const end = this.#text.indexOf(quote, this.#at + 1);
    const inner = this.#text.slice(this.#at + 1, end < 0 ? undefined : end);
    this.#at = end < 0 ? this.#text.length : end + 1;
    return inner;
  }

  #quoted(): string {
    let word = "";
    this.#at += 1;
    while (this.#at < this.#text.length && this.#text[this.#at] !== '"') {
      const character = this.#text[this.#at] ?? "";
      if (character === "$" || character === "`") word += this.#expansion();
      else {
        const escaped = character === "\\";
        word += this.#text[this.#at + (escaped ? 1 : 0)] ?? "";
        this.#at += escaped ? 2 : 1;
      }
    }
    this.#at += 1;
    return word;
  }

  /** A variable, or a command whose output stands here: that one is read too. */
  #expansion(): string {
    const rest = this.#text.slice(this.#at);
    if (rest.startsWith("`")) {
      this.#commands.push(...new Reader(this.#until("`")).commands());
      return UNKNOWN;
    }
    if (rest.startsWith("$(")) {
      const end = closing(rest, 1);
      if (!rest.startsWith("$((")) this.#commands.push(...new Reader(rest.slice(2, end)).commands());
      this.#at += end + 1;
      return UNKNOWN;
    }
    const length = (/^\$(\{[^}]*\}|\w+|.)?/s.exec(rest)?.[0] ?? "$").length;
    this.#at += length;
    return UNKNOWN;
  }

  #settle(): void {
    this.#end();
    this.#settled = this.#commands.length;
  }

  #endLine(): void {
    this.#settle();
    for (const mark of this.#heredocs.splice(0)) {
      const rest = this.#text.slice(this.#at);
      const end = new RegExp(`^\\s*${mark}$`, "m").exec(rest);
      this.#at = end === null ? this.#text.length : this.#at + end.index + end[0].length;
    }
  }

  #end(): void {
    const words = this.#words.splice(0);
    while (BEFORE_A_COMMAND.has(words[0] ?? "") || /^\w+\+?=/.test(words[0] ?? "")) words.shift();
    if (words[0] !== undefined && !NO_COMMAND.has(words[0])) this.#commands.push(words);
  }
}

/** Where the parenthesis that opens at a place is closed. */
function closing(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "'") at = Math.max(at, text.indexOf("'", at + 1));
    else if (text[at] === "(") depth += 1;
    else if (text[at] === ")") {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return text.length;
}
