/** Reading messages of nf_tables. */
import { AttributeReader, readU8, textOf } from "../message-reader.ts";
import {
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_CHAIN_USE,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_HANDLE,
  NFTA_RULE_TABLE,
  NFTA_RULE_USERDATA,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_USERDATA,
  NFTA_TABLE_FLAGS,
  NFTA_TABLE_NAME,
  NFTA_TABLE_USERDATA,
  UDATA_COMMENT,
} from "./attributes.ts";
import { type Data, decodeData, decodeExpressions } from "./expressions.ts";
import {
  type Chain,
  type Element,
  type Expression,
  type FoundTable,
  NF_ACCEPT,
  type NftHook,
  type Rule,
} from "./objects.ts";

/** The length of struct nfgenmsg. */
const HEADER_LENGTH = 4;

/** Reads the body of an NFT_MSG_NEWTABLE message. @throws NetlinkFormatError, as all of these */
export function decodeTable(body: Uint8Array): FoundTable {
  const family = readU8(body, 0);
  let name = "";
  let comment = "";
  let flags = 0;
  const attributes = new AttributeReader(body, HEADER_LENGTH);
  while (attributes.next()) {
    if (attributes.type === NFTA_TABLE_NAME) name = attributes.text();
    else if (attributes.type === NFTA_TABLE_FLAGS) flags = attributes.be32();
    else if (attributes.type === NFTA_TABLE_USERDATA) comment = decodeComment(attributes.bytes());
  }
  return { family, name, comment, flags };
}

/** Reads the body of an NFT_MSG_NEWCHAIN message. */
export function decodeChain(body: Uint8Array): Chain {
  const family = readU8(body, 0);
  let table = "";
  let name = "";
  let type = "";
  let hook: NftHook | null = null;
  let policy = NF_ACCEPT;
  let uses = 0;
  const attributes = new AttributeReader(body, HEADER_LENGTH);
  while (attributes.next()) {
    const attribute = attributes.type;
    if (attribute === NFTA_CHAIN_TABLE) table = attributes.text();
    else if (attribute === NFTA_CHAIN_NAME) name = attributes.text();
    else if (attribute === NFTA_CHAIN_TYPE) type = attributes.text();
    else if (attribute === NFTA_CHAIN_POLICY) policy = attributes.be32();
    else if (attribute === NFTA_CHAIN_USE) uses = attributes.be32();
    else if (attribute === NFTA_CHAIN_HOOK) hook = decodeHook(attributes.nested());
  }
  if (hook !== null) hook = { type, hook: hook.hook, priority: hook.priority };
  return { family, table, name, hook, policy, uses };
}

function decodeHook(attributes: AttributeReader): NftHook {
  let hook = 0;
  let priority = 0;
  while (attributes.next()) {
    if (attributes.type === NFTA_HOOK_HOOKNUM) hook = attributes.be32();
    else if (attributes.type === NFTA_HOOK_PRIORITY) priority = attributes.be32() | 0;
  }
  return { type: "", hook, priority };
}

/** Reads the body of an NFT_MSG_NEWRULE message. */
export function decodeRule(body: Uint8Array): Rule {
  return readRule(body, true);
}

/** `decodeRule` without the expressions, which are most of the work. */
export function decodeRuleHead(body: Uint8Array): Rule {
  return readRule(body, false);
}

function readRule(body: Uint8Array, whole: boolean): Rule {
  const family = readU8(body, 0);
  let table = "";
  let chain = "";
  let expressions: Expression[] = [];
  let comment = "";
  let handle = 0n;
  const attributes = new AttributeReader(body, HEADER_LENGTH);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === NFTA_RULE_TABLE) table = attributes.text();
    else if (type === NFTA_RULE_CHAIN) chain = attributes.text();
    else if (type === NFTA_RULE_HANDLE) handle = attributes.be64();
    else if (type === NFTA_RULE_EXPRESSIONS && whole) expressions = decodeExpressions(attributes.nested());
    else if (type === NFTA_RULE_USERDATA) comment = decodeComment(attributes.bytes());
  }
  return { family, table, chain, expressions, comment, handle };
}

/** Reads the elements in the body of an NFT_MSG_NEWSETELEM message. */
export function decodeElements(body: Uint8Array): Element[] {
  const elements: Element[] = [];
  const attributes = new AttributeReader(body, HEADER_LENGTH);
  while (attributes.next()) {
    if (attributes.type !== NFTA_SET_ELEM_LIST_ELEMENTS) continue;
    const list = attributes.nested();
    while (list.next()) elements.push(decodeElement(list.nested()));
  }
  return elements;
}

function decodeElement(attributes: AttributeReader): Element {
  let key: Uint8Array = new Uint8Array(0);
  let data: Data = { value: null, verdict: null };
  let comment = "";
  while (attributes.next()) {
    const type = attributes.type;
    if (type === NFTA_SET_ELEM_KEY) key = decodeData(attributes.nested()).value ?? key;
    else if (type === NFTA_SET_ELEM_DATA) data = decodeData(attributes.nested());
    else if (type === NFTA_SET_ELEM_USERDATA) comment = decodeComment(attributes.bytes());
  }
  return { key, data: data.value, verdict: data.verdict, comment };
}

/** The comment in user data, which is a list of entries of type, length, bytes; "" if it has another format. */
function decodeComment(userData: Uint8Array): string {
  let at = 0;
  while (at + 2 <= userData.length) {
    const end = at + 2 + readU8(userData, at + 1);
    if (end > userData.length) return "";
    if (readU8(userData, at) === UDATA_COMMENT) return textOf(userData.subarray(at + 2, end));
    at = end;
  }
  return "";
}
