/** The kernel's refusal of a request (NLMSG_ERROR in include/uapi/linux/netlink.h). */
import { errnoText } from "../sys/errno.ts";
import { AttributeReader, type Message, readI32 } from "./message-reader.ts";
import { NLM_F_ACK_TLVS } from "./netlink.ts";

const NLMSGERR_ATTR_MSG = 1;

/** The kernel's refusal of one request. `text` is its own explanation, "" if it gave none. */
export class NetlinkError extends Error {
  readonly errno: number;
  readonly text: string;
  /** Which of the requests sent together was refused, from 0; -1 for a batch as a whole. */
  readonly index: number;

  constructor(errno: number, text: string, index: number) {
    super(text === "" ? errnoText(errno) : `${errnoText(errno)} (${text})`);
    this.name = "NetlinkError";
    this.errno = errno;
    this.text = text;
    this.index = index;
  }

  /** The same, to be thrown: compiled code throws what it took out of a list in a box, which no handler knows. */
  copy(): NetlinkError {
    return new NetlinkError(this.errno, this.text, this.index);
  }
}

/** Reads an NLMSG_ERROR message; null for an acknowledgement, which has error number 0. */
export function decodeError(message: Message, index: number): NetlinkError | null {
  const errno = -readI32(message.body, 0);
  if (errno === 0) return null;
  let text = "";
  if ((message.flags & NLM_F_ACK_TLVS) !== 0) {
    /* With NETLINK_CAP_ACK only the header of the refused request comes back: 4 + 16 bytes. */
    const attributes = new AttributeReader(message.body, 20);
    while (attributes.next()) {
      if (attributes.type === NLMSGERR_ATTR_MSG) text = attributes.text();
    }
  }
  return new NetlinkError(errno, text, index);
}
