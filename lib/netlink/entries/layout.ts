/**
 * Which of an entry's words holds what. Only this folder uses it: everybody else reads and writes entries by the methods of
 * EntryTable.
 *
 * | words | forwarding entry | neighbour | route |
 * |---|---|---|---|
 * | HEAD | the kind | the kind | the kind, and 256 times the length of the prefix, from 0 to 128 |
 * | METRIC | | | the metric |
 * | ADDRESS (4) | the MAC, in the last two | the IP address | the prefix's address |
 * | LINK | | | the index of the link |
 * | FLAGS | PERMANENT | PERMANENT | HAS_GATEWAY, HAS_TUNNEL, and 256 times the protocol |
 * | VNI | | | of the tunnel |
 * | GATEWAY (4) | | the MAC, in the first two | the gateway |
 * | HOST (4) | the node | | the other end of the tunnel |
 * | REST | | | ONLINK; of all kinds 256 times the mark |
 *
 * The first KEY_WORDS words say which entry it is, the next VALUE_WORDS what it says. REST takes part in no comparison: kernels
 * differ in whether a listing shows ONLINK, and the mark is not the kernel's.
 */
/** The head is the first word, at 0. */
export const METRIC = 1;
export const ADDRESS = 2;
export const LINK = 6;
export const FLAGS = 7;
export const VNI = 8;
export const GATEWAY = 9;
export const HOST = 13;
export const REST = 17;
export const ENTRY_WORDS = 18;

export const KEY_WORDS = 6;
export const VALUE_WORDS = 11;

/** Where a forwarding entry has its MAC. */
export const FDB_MAC = ADDRESS + 2;
/** Where a neighbour has its MAC. */
export const NEIGHBOUR_MAC = GATEWAY;

export const PERMANENT = 1;
export const HAS_GATEWAY = 2;
export const HAS_TUNNEL = 4;

export const ONLINK = 1;
