/**
 * Compiles rules in a subset of nft's syntax to the expressions that the kernel runs. The result is the same as that of nft
 * 1.0.6, except that nft may load adjacent fields in one step. Pure.
 *
 *   rule       = { match | "counter" | bits } [ verdict | masquerade | dnat | "notrack" ]
 *   match      = selector [ "&" value ] [ "==" | "!=" ] ( value | "{" value { "," value } "}" )
 *              | fields [ "==" | "!=" ] "@" set
 *              | fields "vmap" "@" map
 *   bits       = selector "set" selector "|" value, twice the same one of meta data: the bits of the value are set
 *   fields     = selector { "." selector }
 *   value      = number, name or address, prefix, range "80-90", beginning of a name "eth*", flags "new,established"
 *   verdict    = "accept" | "drop" | "return" | "jump" chain | "goto" chain
 *   masquerade = "masquerade" [ flag { "," flag } ]
 *   dnat       = "dnat" ( "ip" | "ip6" ) "to" fields "map" "@" map of addresses and ports
 */
import { textAt } from "../lists.ts";
import {
  type Expression,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_REG_1,
  NFT_REG_VERDICT,
} from "../netlink/nftables/objects.ts";
import { clip } from "../text.ts";
import { parseVerdict } from "./elements.ts";
import { Program, registerAt } from "./program.ts";
import { type Selector, selectorNamed, selectorNames } from "./selectors.ts";
import { encodeValue, LanguageError, parseOperand, symbolValue, VERDICTS } from "./values.ts";

/** How many rules one text may stand for. */
const MAX_ALTERNATIVES = 64;
/** NFT_RULE_MAXEXPRS in net/netfilter/nf_tables_api.c. */
const MAX_EXPRESSIONS = 128;
/** How many words the names of selectors have, the most frequent number first. No name is the beginning of another. */
const SELECTOR_WORDS = [2, 1, 3, 5];
const NF_NAT_DNAT = 1;
/** NF_NAT_RANGE_* in linux/netfilter/nf_nat.h. */
const MASQUERADE_FLAGS = " random=4 persistent=8 fully-random=16 ";

/**
 * The rules of a text: one, or with lists like "tcp dport { 80, 443 }" one for each combination of values.
 * @param family of the table, NFPROTO_*
 * @throws LanguageError
 */
export function compileRules(family: number, text: string): Expression[][] {
  return compileAlternatives(family, text, false);
}

/** The rule of a text without lists of values. @throws LanguageError */
export function compileRule(family: number, text: string): Expression[] {
  const rules = compileRules(family, text);
  if (rules.length > 1) throw new LanguageError(`"${clip(text)}" is ${rules.length} rules`, "");
  return rules[0] ?? [];
}

/**
 * The matches of a user's conditions, as alternatives of which one must hold. Named sets and verdicts are not allowed.
 * @param tokens as in the configuration: ["iifname", "!=", "eth1"]
 * @throws LanguageError
 */
export function compileConditions(family: number, tokens: readonly string[]): Expression[][] {
  return compileAlternatives(family, tokens.join(" "), true);
}

function compileAlternatives(family: number, text: string, conditions: boolean): Expression[][] {
  const words = wordsOf(text);
  const rules: Expression[][] = [];
  let count = 1;
  while (rules.length < count) {
    const compiler = new RuleCompiler(family, words, conditions, rules.length);
    rules.push(compiler.compile());
    count = compiler.alternatives;
    if (count > MAX_ALTERNATIVES) {
      throw new LanguageError(`the lists have ${count} combinations`, `at most ${MAX_ALTERNATIVES} are possible`);
    }
  }
  return rules;
}

/** Splits at white space and around "{", "}" and ","; removes quotation marks. */
function wordsOf(quoted: string): string[] {
  const text = quoted.split('"').join("");
  const words: string[] = [];
  let start = 0;
  for (let i = 0; i <= text.length; i += 1) {
    const unit = text.charCodeAt(i);
    const mark = unit === 0x7b || unit === 0x7d || (unit === 0x2c && text.charAt(start) !== "@");
    if (unit > 0x20 && !mark) continue;
    if (i > start) words.push(text.slice(start, i));
    if (mark) words.push(text.charAt(i));
    start = i + 1;
  }
  return words;
}

/** Compiles one rule of a text. */
class RuleCompiler {
  /** How many rules the text has; known when this one is compiled. */
  alternatives = 1;
  readonly #program: Program;
  readonly #words: readonly string[];
  readonly #conditions: boolean;
  /** Which values to take from the lists: the digits of this number in a mixed radix, the lengths of the lists. */
  #choice: number;
  #next = 0;

  constructor(family: number, words: readonly string[], conditions: boolean, choice: number) {
    this.#program = new Program(family);
    this.#words = words;
    this.#conditions = conditions;
    this.#choice = choice;
  }

  compile(): Expression[] {
    let open = true;
    while (this.#word() !== "") {
      if (!open) throw unexpected(this.#word(), "the end");
      open = this.#statement();
    }
    const expressions = this.#program.expressions;
    if (expressions.length > MAX_EXPRESSIONS) throw new LanguageError("the rule is too long for the kernel", "");
    return expressions;
  }

  /** Compiles one statement; false if no other may follow. */
  #statement(): boolean {
    const word = this.#word();
    if (word === "counter") {
      this.#next += 1;
      this.#program.push({ kind: "counter" });
      return true;
    }
    const verdict = symbolValue(VERDICTS, word) !== null;
    if (!verdict && word !== "masquerade" && word !== "dnat" && word !== "notrack") {
      this.#match();
      return true;
    }
    if (this.#conditions)
      throw new LanguageError(`"${word}" says what becomes of a packet`, "conditions are matches only");
    this.#next += 1;
    if (word === "dnat") this.#dnat();
    else if (word === "masquerade") this.#masquerade();
    else if (word === "notrack") this.#program.push({ kind: "notrack" });
    else {
      const chain = word === "jump" || word === "goto" ? ` ${this.#take("a chain")}` : "";
      this.#program.push({ kind: "verdict", verdict: parseVerdict(word + chain) });
    }
    return false;
  }

  #masquerade(): void {
    let flags = 0;
    while (this.#word() !== "") {
      const flag = this.#take("a flag");
      const bit = symbolValue(MASQUERADE_FLAGS, flag);
      if (bit === null) throw unexpected(flag, "random, fully-random or persistent");
      flags |= bit;
      if (this.#word() === ",") this.#next += 1;
    }
    this.#program.push({ kind: "masq", flags });
  }

  /** The map's address comes into the first register, its port into the next one behind it. */
  #dnat(): void {
    const name = this.#take("ip or ip6");
    const ipv4 = name === "ip";
    if (!ipv4 && name !== "ip6") throw unexpected(name, "ip or ip6");
    this.#expect("to");
    const fields = this.#fields();
    this.#expect("map");
    this.#lookup(fields, NFT_REG_1, false);
    const family = ipv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    const port = registerAt(ipv4 ? 1 : 4);
    this.#program.push({ kind: "nat", type: NF_NAT_DNAT, family, address: NFT_REG_1, port, flags: 0 });
  }

  #match(): void {
    const fields = this.#fields();
    if (this.#word() === "vmap") {
      this.#next += 1;
      this.#lookup(fields, NFT_REG_VERDICT, false);
      return;
    }
    const field = fields[0];
    if (this.#word() === "set" && field !== undefined && !this.#conditions) {
      this.#setBits(field);
      return;
    }
    let mask: Uint8Array | null = null;
    if (this.#word() === "&" && field !== undefined) {
      this.#next += 1;
      mask = encodeValue(field.type, field.length, this.#value(field));
    }
    const operator = this.#word();
    const equal = operator !== "!=";
    const written = !equal || operator === "==";
    if (written) this.#next += 1;
    if (this.#word().startsWith("@") && mask === null) this.#lookup(fields, null, !equal);
    else if (field === undefined || fields.length > 1)
      throw unexpected(this.#take("a set"), "a named set for several fields");
    else if (this.#word() !== "{") this.#compare(field, mask, equal, !written, this.#value(field));
    else {
      const list = this.#list();
      for (const value of equal ? this.#chosen(list) : list) this.#compare(field, mask, equal, false, value);
    }
  }

  #setBits(field: Selector): void {
    this.#expect("set");
    const other = this.#selector();
    if (field.source !== "meta" || other.source !== "meta" || other.key !== field.key)
      throw unexpected(other.name, "the same meta data on both sides");
    this.#expect("|");
    this.#program.setBits(field, encodeValue(field.type, field.length, this.#value(field)));
  }

  /** Flags without an operator match if one of them is set. */
  #compare(field: Selector, mask: Uint8Array | null, equal: boolean, implicit: boolean, text: string): void {
    const operand = parseOperand(field.type, field.length, text);
    /* To nft this means whether a route exists. */
    if (field.source === "fib" && field.type.form === "name" && (text === "missing" || text === "exists"))
      throw unexpected(text, "a link's name");
    if (mask !== null && operand.first.length !== mask.length) throw unexpected(text, "a whole value");
    this.#program.match(field, mask, equal, implicit && mask === null && field.type.form === "flags", operand);
  }

  #lookup(fields: readonly Selector[], destination: number | null, inverted: boolean): void {
    const name = this.#take("a set");
    if (!name.startsWith("@") || name === "@" || this.#conditions)
      throw unexpected(name, this.#conditions ? "the values themselves: { a, b }" : "@ and a set's name");
    this.#program.lookup(fields, name.slice(1), destination, inverted);
  }

  /** Reads "selector . selector" and adds tests that the packet has their headers. */
  #fields(): Selector[] {
    const fields: Selector[] = [this.#selector()];
    while (this.#word() === ".") {
      this.#next += 1;
      fields.push(this.#selector());
    }
    for (const field of fields) this.#program.require(field);
    return fields;
  }

  #selector(): Selector {
    for (const count of SELECTOR_WORDS) {
      const name = this.#words.slice(this.#next, this.#next + count).join(" ");
      const found = selectorNamed(name);
      if (found === null) continue;
      this.#next = this.#next + count;
      return found;
    }
    const shown = this.#words.slice(this.#next, this.#next + 2).join(" ");
    this.#take("a selector");
    throw unexpected(shown, `one of: ${selectorNames().join(", ")}`);
  }

  /** Reads "{ value, value }". */
  #list(): string[] {
    this.#expect("{");
    const list: string[] = [this.#take("a value")];
    while (this.#word() === ",") {
      this.#next += 1;
      if (this.#word() !== "}") list.push(this.#take("a value"));
    }
    this.#expect("}");
    return list;
  }

  /** The value of a list that this rule is for. */
  #chosen(list: string[]): string[] {
    const index = this.#choice % list.length;
    this.#choice = Math.floor(this.#choice / list.length);
    this.alternatives *= list.length;
    return list.slice(index, index + 1);
  }

  /** Reads a value, or several flags with commas between them. */
  #value(field: Selector): string {
    let value = this.#take(`a value for ${field.name}`);
    while (field.type.form === "flags" && this.#word() === ",") {
      this.#next += 1;
      value += `,${this.#take("a flag")}`;
    }
    return value;
  }

  /** The next word, "" at the end. */
  #word(): string {
    return textAt(this.#words, this.#next);
  }

  #take(expected: string): string {
    const word = this.#word();
    if (word === "") throw new LanguageError("the end comes too early", `expected ${expected}`);
    this.#next += 1;
    return word;
  }

  #expect(word: string): void {
    const found = this.#take(`"${word}"`);
    if (found !== word) throw unexpected(found, `"${word}"`);
  }
}

function unexpected(word: string, expected: string): LanguageError {
  return new LanguageError(`"${clip(word)}" is not understood here`, `expected ${expected}`);
}
