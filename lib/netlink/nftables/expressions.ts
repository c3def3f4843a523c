/**
 * The expressions of rules as bytes (linux/netfilter/nf_tables.h): each is a name and nested attributes, whose numbers are
 * 32 bits in network order unless noted. Attributes are written in the order in which the nft program does.
 */
import { AttributeReader, readBe32, readU8, textOf } from "../message-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import type { Expression, LookupExpression, NatExpression, Verdict } from "./objects.ts";

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;

const NFTA_META_DREG = 1;
const NFTA_META_KEY = 2;
const NFTA_META_SREG = 3;
const NFTA_PAYLOAD_DREG = 1;
const NFTA_PAYLOAD_BASE = 2;
const NFTA_PAYLOAD_OFFSET = 3;
const NFTA_PAYLOAD_LEN = 4;
const NFTA_BITWISE_SREG = 1;
const NFTA_BITWISE_DREG = 2;
const NFTA_BITWISE_LEN = 3;
const NFTA_BITWISE_MASK = 4;
const NFTA_BITWISE_XOR = 5;
const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;
const NFTA_RANGE_SREG = 1;
const NFTA_RANGE_OP = 2;
const NFTA_RANGE_FROM_DATA = 3;
const NFTA_RANGE_TO_DATA = 4;
const NFTA_LOOKUP_SET = 1;
const NFTA_LOOKUP_SREG = 2;
const NFTA_LOOKUP_DREG = 3;
const NFTA_LOOKUP_FLAGS = 5;
const NFTA_IMMEDIATE_DREG = 1;
const NFTA_IMMEDIATE_DATA = 2;
const NFTA_FIB_DREG = 1;
const NFTA_FIB_RESULT = 2;
const NFTA_FIB_FLAGS = 3;
const NFTA_CT_DREG = 1;
const NFTA_CT_KEY = 2;
const NFTA_CT_DIRECTION = 3;
const NFTA_NAT_TYPE = 1;
const NFTA_NAT_FAMILY = 2;
const NFTA_NAT_REG_ADDR_MIN = 3;
const NFTA_NAT_REG_ADDR_MAX = 4;
const NFTA_NAT_REG_PROTO_MIN = 5;
const NFTA_NAT_REG_PROTO_MAX = 6;
const NFTA_NAT_FLAGS = 7;
const NFTA_MASQ_FLAGS = 1;
const NFTA_MASQ_REG_PROTO_MIN = 2;
/* NFTA_TARGET_* begins with the same two. */
const NFTA_MATCH_NAME = 1;
const NFTA_MATCH_REV = 2;
const NFTA_MATCH_INFO = 3;

const NFT_LOOKUP_F_INV = 1;
/** NF_NAT_RANGE_MAP_IPS and _PROTO_SPECIFIED: the kernel sets them if there are registers for address and port. */
const NAT_RANGE_IMPLIED = 3;

/** Writes the expressions of a rule into an attribute of the given type. @throws TypeError for an unknown expression */
export function writeExpressions(writer: MessageWriter, type: number, expressions: readonly Expression[]): void {
  const list = writer.beginNested(type);
  for (const expression of expressions) {
    const element = writer.beginNested(NFTA_LIST_ELEM);
    writer.attributeText(NFTA_EXPR_NAME, kernelName(expression));
    if (expression.kind !== "notrack") {
      const data = writer.beginNested(NFTA_EXPR_DATA);
      writeFields(writer, expression);
      writer.endNested(data);
    }
    writer.endNested(element);
  }
  writer.endNested(list);
}

function kernelName(expression: Expression): string {
  if (expression.kind === "verdict") return "immediate";
  if (expression.kind === "meta-set") return "meta";
  if (expression.kind === "unknown") throw new TypeError(`an expression "${expression.name}" cannot be written`);
  if (expression.kind === "match") throw new TypeError(`a match "${expression.name}" cannot be written`);
  return expression.kind;
}

function writeFields(writer: MessageWriter, expression: Expression): void {
  switch (expression.kind) {
    case "meta":
      writer.attributeBe32(NFTA_META_KEY, expression.key);
      writer.attributeBe32(NFTA_META_DREG, expression.register);
      break;
    case "meta-set":
      writer.attributeBe32(NFTA_META_KEY, expression.key);
      writer.attributeBe32(NFTA_META_SREG, expression.source);
      break;
    case "payload":
      writer.attributeBe32(NFTA_PAYLOAD_DREG, expression.register);
      writer.attributeBe32(NFTA_PAYLOAD_BASE, expression.base);
      writer.attributeBe32(NFTA_PAYLOAD_OFFSET, expression.offset);
      writer.attributeBe32(NFTA_PAYLOAD_LEN, expression.length);
      break;
    case "bitwise":
      writer.attributeBe32(NFTA_BITWISE_SREG, expression.source);
      writer.attributeBe32(NFTA_BITWISE_DREG, expression.register);
      writer.attributeBe32(NFTA_BITWISE_LEN, expression.mask.length);
      writeValue(writer, NFTA_BITWISE_MASK, expression.mask);
      writeValue(writer, NFTA_BITWISE_XOR, expression.xor);
      break;
    case "cmp":
      writer.attributeBe32(NFTA_CMP_SREG, expression.source);
      writer.attributeBe32(NFTA_CMP_OP, expression.op);
      writeValue(writer, NFTA_CMP_DATA, expression.data);
      break;
    case "range":
      writer.attributeBe32(NFTA_RANGE_SREG, expression.source);
      writer.attributeBe32(NFTA_RANGE_OP, expression.op);
      writeValue(writer, NFTA_RANGE_FROM_DATA, expression.from);
      writeValue(writer, NFTA_RANGE_TO_DATA, expression.to);
      break;
    case "lookup":
      writeLookup(writer, expression);
      break;
    case "immediate":
      writer.attributeBe32(NFTA_IMMEDIATE_DREG, expression.register);
      writeValue(writer, NFTA_IMMEDIATE_DATA, expression.data);
      break;
    case "verdict":
      writer.attributeBe32(NFTA_IMMEDIATE_DREG, 0);
      writeVerdict(writer, NFTA_IMMEDIATE_DATA, expression.verdict);
      break;
    case "fib":
      writer.attributeBe32(NFTA_FIB_FLAGS, expression.flags);
      writer.attributeBe32(NFTA_FIB_RESULT, expression.result);
      writer.attributeBe32(NFTA_FIB_DREG, expression.register);
      break;
    case "ct":
      writer.attributeBe32(NFTA_CT_KEY, expression.key);
      writer.attributeBe32(NFTA_CT_DREG, expression.register);
      if (expression.direction !== null) writer.attributeU8(NFTA_CT_DIRECTION, expression.direction);
      break;
    case "nat":
      writeNat(writer, expression);
      break;
    case "masq":
      if (expression.flags !== 0) writer.attributeBe32(NFTA_MASQ_FLAGS, expression.flags);
      break;
    default:
      /* A new counter is 0. */
      break;
  }
}

/** The set is found by its name, also if it is made in the same batch. */
function writeLookup(writer: MessageWriter, lookup: LookupExpression): void {
  writer.attributeBe32(NFTA_LOOKUP_SREG, lookup.source);
  if (lookup.register !== null) writer.attributeBe32(NFTA_LOOKUP_DREG, lookup.register);
  writer.attributeText(NFTA_LOOKUP_SET, lookup.set);
  if (lookup.inverted) writer.attributeBe32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
}

function writeNat(writer: MessageWriter, nat: NatExpression): void {
  writer.attributeBe32(NFTA_NAT_TYPE, nat.type);
  writer.attributeBe32(NFTA_NAT_FAMILY, nat.family);
  writer.attributeBe32(NFTA_NAT_REG_ADDR_MIN, nat.address);
  if (nat.port !== null) writer.attributeBe32(NFTA_NAT_REG_PROTO_MIN, nat.port);
  if (nat.flags !== 0) writer.attributeBe32(NFTA_NAT_FLAGS, nat.flags);
}

/** Writes data, which the kernel wraps in a value attribute. */
export function writeValue(writer: MessageWriter, type: number, value: Uint8Array): void {
  const data = writer.beginNested(type);
  writer.attributeBytes(NFTA_DATA_VALUE, value);
  writer.endNested(data);
}

export function writeVerdict(writer: MessageWriter, type: number, verdict: Verdict): void {
  const data = writer.beginNested(type);
  const inner = writer.beginNested(NFTA_DATA_VERDICT);
  writer.attributeBe32(NFTA_VERDICT_CODE, verdict.code);
  if (verdict.chain !== "") writer.attributeText(NFTA_VERDICT_CHAIN, verdict.chain);
  writer.endNested(inner);
  writer.endNested(data);
}

/** The content of a data attribute: a value or a verdict. */
export interface Data {
  readonly value: Uint8Array | null;
  readonly verdict: Verdict | null;
}

/** Reads an attribute that holds data. @throws NetlinkFormatError */
export function decodeData(attributes: AttributeReader): Data {
  let value: Uint8Array | null = null;
  let verdict: Verdict | null = null;
  while (attributes.next()) {
    if (attributes.type === NFTA_DATA_VALUE) value = attributes.bytes().slice();
    else if (attributes.type === NFTA_DATA_VERDICT) verdict = decodeVerdict(attributes.nested());
  }
  return { value, verdict };
}

function decodeVerdict(attributes: AttributeReader): Verdict {
  let code = 0;
  let chain = "";
  while (attributes.next()) {
    if (attributes.type === NFTA_VERDICT_CODE) code = attributes.be32() | 0;
    else if (attributes.type === NFTA_VERDICT_CHAIN) chain = attributes.text();
  }
  return { code, chain };
}

/** Reads the expressions of a rule. @throws NetlinkFormatError */
export function decodeExpressions(list: AttributeReader): Expression[] {
  const expressions: Expression[] = [];
  while (list.next()) {
    const element = list.nested();
    let name = "";
    let data: Uint8Array = new Uint8Array(0);
    while (element.next()) {
      if (element.type === NFTA_EXPR_NAME) name = element.text();
      else if (element.type === NFTA_EXPR_DATA) data = element.bytes();
    }
    expressions.push(decodeExpression(name, new Fields(data)) ?? { kind: "unknown", name });
  }
  return expressions;
}

/** The attributes of an expression, found by number; there are few. */
class Fields {
  readonly #data: Uint8Array;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  has(type: number): boolean {
    return this.#find(new AttributeReader(this.#data, 0), type);
  }

  /** Empty if the attribute is missing. */
  bytes(type: number): Uint8Array {
    const attributes = new AttributeReader(this.#data, 0);
    return this.#find(attributes, type) ? attributes.bytes() : new Uint8Array(0);
  }

  #find(attributes: AttributeReader, type: number): boolean {
    while (attributes.next()) {
      if (attributes.type === type) return true;
    }
    return false;
  }

  /** @throws NetlinkFormatError if the attribute is missing or no number */
  number(type: number): number {
    return readBe32(this.bytes(type), 0);
  }

  numberOr(type: number, missing: number): number {
    return this.has(type) ? this.number(type) : missing;
  }

  numberOrNull(type: number): number | null {
    return this.has(type) ? this.number(type) : null;
  }

  data(type: number): Data {
    return decodeData(new AttributeReader(this.bytes(type), 0));
  }

  value(type: number): Uint8Array {
    return this.data(type).value ?? new Uint8Array(0);
  }
}

/**
 * Null for an expression that this project does not use: one of another name, or one that does something else than our own
 * of its name (`ct mark set` has a source instead of a destination; nat may have a range of addresses).
 */
function decodeExpression(name: string, fields: Fields): Expression | null {
  switch (name) {
    case "meta":
      return decodeMeta(fields);
    case "payload":
      return decodePayload(fields);
    case "bitwise":
      return decodeBitwise(fields);
    case "cmp":
      return {
        kind: "cmp",
        source: fields.number(NFTA_CMP_SREG),
        op: fields.number(NFTA_CMP_OP),
        data: fields.value(NFTA_CMP_DATA),
      };
    case "range":
      return {
        kind: "range",
        source: fields.number(NFTA_RANGE_SREG),
        op: fields.number(NFTA_RANGE_OP),
        from: fields.value(NFTA_RANGE_FROM_DATA),
        to: fields.value(NFTA_RANGE_TO_DATA),
      };
    case "lookup":
      return decodeLookup(fields);
    case "immediate":
      return decodeImmediate(fields);
    case "fib":
      return {
        kind: "fib",
        result: fields.number(NFTA_FIB_RESULT),
        flags: fields.number(NFTA_FIB_FLAGS),
        register: fields.number(NFTA_FIB_DREG),
      };
    case "ct":
      if (!fields.has(NFTA_CT_DREG)) return null;
      return {
        kind: "ct",
        key: fields.number(NFTA_CT_KEY),
        direction: fields.has(NFTA_CT_DIRECTION) ? readU8(fields.bytes(NFTA_CT_DIRECTION), 0) : null,
        register: fields.number(NFTA_CT_DREG),
      };
    case "nat":
      return decodeNat(fields);
    case "masq":
      if (fields.has(NFTA_MASQ_REG_PROTO_MIN)) return null;
      return { kind: "masq", flags: fields.numberOr(NFTA_MASQ_FLAGS, 0) };
    case "counter":
      return { kind: "counter" };
    case "notrack":
      return { kind: "notrack" };
    case "match":
    case "target":
      return {
        kind: "match",
        name: textOf(fields.bytes(NFTA_MATCH_NAME)),
        revision: fields.numberOr(NFTA_MATCH_REV, 0),
        info: name === "match" ? fields.bytes(NFTA_MATCH_INFO).slice() : new Uint8Array(0),
      };
    default:
      return null;
  }
}

function decodeMeta(fields: Fields): Expression {
  const key = fields.number(NFTA_META_KEY);
  if (fields.has(NFTA_META_SREG)) return { kind: "meta-set", key, source: fields.number(NFTA_META_SREG) };
  return { kind: "meta", key, register: fields.number(NFTA_META_DREG) };
}

function decodePayload(fields: Fields): Expression | null {
  if (!fields.has(NFTA_PAYLOAD_DREG)) return null;
  return {
    kind: "payload",
    base: fields.number(NFTA_PAYLOAD_BASE),
    offset: fields.number(NFTA_PAYLOAD_OFFSET),
    length: fields.number(NFTA_PAYLOAD_LEN),
    register: fields.number(NFTA_PAYLOAD_DREG),
  };
}

function decodeBitwise(fields: Fields): Expression | null {
  if (!fields.has(NFTA_BITWISE_MASK) || !fields.has(NFTA_BITWISE_XOR)) return null;
  return {
    kind: "bitwise",
    source: fields.number(NFTA_BITWISE_SREG),
    register: fields.number(NFTA_BITWISE_DREG),
    mask: fields.value(NFTA_BITWISE_MASK),
    xor: fields.value(NFTA_BITWISE_XOR),
  };
}

function decodeLookup(fields: Fields): Expression {
  return {
    kind: "lookup",
    set: textOf(fields.bytes(NFTA_LOOKUP_SET)),
    source: fields.number(NFTA_LOOKUP_SREG),
    register: fields.numberOrNull(NFTA_LOOKUP_DREG),
    inverted: (fields.numberOr(NFTA_LOOKUP_FLAGS, 0) & NFT_LOOKUP_F_INV) !== 0,
  };
}

function decodeImmediate(fields: Fields): Expression | null {
  const data = fields.data(NFTA_IMMEDIATE_DATA);
  if (data.verdict !== null) return { kind: "verdict", verdict: data.verdict };
  if (data.value === null) return null;
  return { kind: "immediate", register: fields.number(NFTA_IMMEDIATE_DREG), data: data.value };
}

function decodeNat(fields: Fields): Expression | null {
  if (!fields.has(NFTA_NAT_REG_ADDR_MIN)) return null;
  const address = fields.number(NFTA_NAT_REG_ADDR_MIN);
  const port = fields.numberOrNull(NFTA_NAT_REG_PROTO_MIN);
  if (fields.numberOr(NFTA_NAT_REG_ADDR_MAX, address) !== address) return null;
  if (port !== null && fields.numberOr(NFTA_NAT_REG_PROTO_MAX, port) !== port) return null;
  return {
    kind: "nat",
    type: fields.number(NFTA_NAT_TYPE),
    family: fields.number(NFTA_NAT_FAMILY),
    address,
    port,
    flags: fields.numberOr(NFTA_NAT_FLAGS, 0) & ~NAT_RANGE_IMPLIED,
  };
}
