/** Netlink messages in words, for `PODWIRE_DEBUG`: type, flags, length, and the attributes whose values a person can read. */
import { itemAt, textAt } from "../lists.ts";
import { hexNumber, hexOf } from "../text.ts";
import { AttributeReader, type Message, splitMessages } from "./message-reader.ts";
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./netlink.ts";
import { decodeError } from "./refusal.ts";

/* RTM_NEWLINK is 16, and each group has four messages (linux/rtnetlink.h). */
const FIRST_ROUTE_TYPE = 16;
const ROUTE_GROUPS = ["LINK", "ADDR", "ROUTE", "NEIGH", "RULE", "QDISC", "TCLASS", "TFILTER"];
const ROUTE_HEADERS = [16, 8, 12, 12, 12, 20, 20, 20];
const ROUTE_VERBS = ["NEW", "DEL", "GET", "SET"];

/* Messages of nf_tables in the order of enum nf_tables_msg_types. */
const NFTABLES = 10;
const NFTABLES_TYPES = [
  ...["NEWTABLE", "GETTABLE", "DELTABLE", "NEWCHAIN", "GETCHAIN", "DELCHAIN", "NEWRULE", "GETRULE", "DELRULE"],
  ...["NEWSET", "GETSET", "DELSET", "NEWSETELEM", "GETSETELEM", "DELSETELEM"],
];
const BATCH_BEGIN = 16;
const BATCH_END = 17;

const LONGEST = 24;

/** Requests to the kernel, a line each, with all attributes by their numbers. */
export function describeRequests(protocol: number, bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (const message of splitMessages(bytes)) lines.push(`-> ${describeMessage(protocol, message, true)}`);
  return lines;
}

/** Answers of the kernel, a line each, with the attributes that are texts: a link alone has sixty others. */
export function describeAnswers(protocol: number, bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (const message of splitMessages(bytes)) lines.push(`<- ${describeMessage(protocol, message, false)}`);
  return lines;
}

function describeMessage(protocol: number, message: Message, whole: boolean): string {
  const { type, flags, sequence, body } = message;
  if (type === NLMSG_DONE) return `${sequence} done`;
  if (type === NLMSG_ERROR) {
    const refusal = decodeError(message, 0);
    return `${sequence} ${refusal === null ? "ok" : refusal.message}`;
  }
  const words = [`${sequence}`, typeName(protocol, type), ...flagNames(flags, protocol, type)];
  const header = headerBytes(protocol, type);
  const attributes = new AttributeReader(body, header);
  while (attributes.next()) {
    const value = valueText(attributes.bytes());
    if (whole || value.startsWith('"')) words.push(`${attributes.type}=${value}`);
  }
  return words.join(" ");
}

function typeName(protocol: number, type: number): string {
  if (protocol === NETLINK_ROUTE) {
    const group = textAt(ROUTE_GROUPS, (type - FIRST_ROUTE_TYPE) >> 2);
    if (type >= FIRST_ROUTE_TYPE && group !== "") return `RTM_${textAt(ROUTE_VERBS, type & 3)}${group}`;
  }
  if (protocol === NETLINK_NETFILTER) {
    if (type === BATCH_BEGIN) return "BATCH_BEGIN";
    if (type === BATCH_END) return "BATCH_END";
    const name = type >> 8 === NFTABLES ? textAt(NFTABLES_TYPES, type & 0xff) : "";
    if (name !== "") return `NFT_MSG_${name}`;
  }
  return `type 0x${hexNumber(type)}`;
}

/** How long the fixed part is that stands before the attributes. */
function headerBytes(protocol: number, type: number): number {
  if (protocol !== NETLINK_ROUTE) return 4;
  const group = (type - FIRST_ROUTE_TYPE) >> 2;
  return itemAt(ROUTE_HEADERS, group) ?? 4;
}

/** The flags that a request has, by the meaning that they have for its type. */
function flagNames(flags: number, protocol: number, type: number): string[] {
  const names: string[] = [];
  if ((flags & NLM_F_ACK) !== 0) names.push("ack");
  const makes = protocol === NETLINK_ROUTE ? (type & 3) === 0 : true;
  if ((flags & NLM_F_DUMP) === NLM_F_DUMP && (!makes || (flags & NLM_F_CREATE) === 0)) names.push("dump");
  else if (makes) {
    if ((flags & NLM_F_REPLACE) !== 0) names.push("replace");
    if ((flags & NLM_F_EXCL) !== 0) names.push("excl");
  }
  if (makes && (flags & NLM_F_CREATE) !== 0) names.push("create");
  if (makes && (flags & NLM_F_APPEND) !== 0) names.push("append");
  return names;
}

/** A text in quotes, else hex digits. */
function valueText(bytes: Uint8Array): string {
  const shown = bytes.subarray(0, LONGEST);
  const rest = bytes.length > LONGEST ? "..." : "";
  let length = bytes.length;
  if (length > 1 && bytes[length - 1] === 0) length -= 1;
  for (let i = 0; i < length; i += 1) {
    const unit = bytes[i] ?? 0;
    if (unit < 0x20 || unit > 0x7e) return `${hexOf(shown, "")}${rest}`;
  }
  return length < 2 ? hexOf(shown, "") : `"${new TextDecoder().decode(bytes.subarray(0, length))}"`;
}
