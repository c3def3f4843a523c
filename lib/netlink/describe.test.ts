import { describe, expect, test } from "vitest";
import { describeAnswers, describeRequests } from "./describe.ts";
import { MessageWriter } from "./message-writer.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST } from "./netlink.ts";

const RTM_NEWLINK = 16;
const RTM_DELROUTE = 25;

function message(type: number, flags: number, header: number, fill: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter();
  writer.begin(type, flags);
  for (let i = 0; i < header; i += 1) writer.u8(0);
  fill(writer);
  writer.end();
  writer.number(7);
  return writer.bytes;
}

describe("a message in words", () => {
  test("has its type, the flags by their meaning, and its attributes", () => {
    const bytes = message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 16, (writer) => {
      writer.attributeText(3, "eth0");
      writer.attributeU32(4, 1500);
    });
    expect(describeRequests(NETLINK_ROUTE, bytes)).toEqual(['-> 7 RTM_NEWLINK ack excl create 3="eth0" 4=dc050000']);
    expect(describeAnswers(NETLINK_ROUTE, bytes)).toEqual(['<- 7 RTM_NEWLINK ack excl create 3="eth0"']);
  });

  test("is of its protocol; unknown types are numbers", () => {
    const nothing = () => {};
    expect(describeRequests(NETLINK_ROUTE, message(RTM_DELROUTE, 1, 12, nothing))).toEqual(["-> 7 RTM_DELROUTE"]);
    expect(describeRequests(NETLINK_NETFILTER, message(0xa0c, 1, 4, nothing))).toEqual(["-> 7 NFT_MSG_NEWSETELEM"]);
    expect(describeRequests(NETLINK_NETFILTER, message(0x999, 1, 4, nothing))).toEqual(["-> 7 type 0x999"]);
  });
});
