/** For tests: messages as trees that can be compared whatever the order of their attributes, read without the codec. */
import { expect } from "vitest";
import { MessageWriter } from "../lib/netlink/message-writer.ts";
import { NLM_F_ACK, NLM_F_REQUEST } from "../lib/netlink/netlink.ts";
import type { NetlinkSocket } from "../lib/netlink/socket.ts";

export const TEXT = "text";

/** Which attributes hold attributes (behind a fixed part of so many bytes), and which hold text. */
export interface Shape {
  readonly fixed?: number;
  readonly [type: number]: Shape | typeof TEXT;
}

export type Tree = { readonly [key: string]: string | Tree | readonly (string | Tree)[] };

/** An independent reading of a message: "header", "fixed" and the attributes by number. */
export function treeOf(message: Buffer, shape: Shape): Tree {
  const flags = message.readUInt16LE(6);
  return {
    header: `type ${message.readUInt16LE(4)} flags ${flags.toString(16)}`,
    ...inside(message.subarray(16), shape),
  };
}

function inside(bytes: Buffer, shape: Shape): Tree {
  const fixed = shape.fixed ?? 0;
  const tree: Record<string, (string | Tree)[] | string> = { fixed: bytes.subarray(0, fixed).toString("hex") };
  for (let at = fixed; at + 4 <= bytes.length; at += (bytes.readUInt16LE(at) + 3) & ~3) {
    const type = bytes.readUInt16LE(at + 2) & 0x3fff;
    const value = bytes.subarray(at + 4, at + bytes.readUInt16LE(at));
    const kind = shape[type];
    const read =
      kind === TEXT
        ? value.toString().replace(/\0+$/, "")
        : kind === undefined
          ? value.toString("hex")
          : inside(value, kind);
    tree[type] = [...((tree[type] as (string | Tree)[] | undefined) ?? []), read];
  }
  return tree;
}

/** What an encoder writes, with the flags of a request that is sent alone. */
export function written(encode: (socket: NetlinkSocket) => void): Buffer {
  const writer = new MessageWriter();
  const socket = {
    request(type: number, flags: number): MessageWriter {
      writer.begin(type, flags | NLM_F_REQUEST | NLM_F_ACK);
      return writer;
    },
  };
  encode(socket as unknown as NetlinkSocket);
  expect(writer.bytes.length % 4).toBe(0);
  return Buffer.from(writer.bytes);
}
