/** Numbers of netlink itself (include/uapi/linux/netlink.h). */

/* Protocols: what a socket speaks to. */
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;

/* Flags of requests. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_ECHO = 0x8;
export const NLM_F_DUMP = 0x300;
/* Flags of requests that make something. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/* Flags of answers. */
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_ACK_TLVS = 0x200;

/* Types of answers that hold no object. */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

/** struct nlmsghdr: length, type, flags, sequence number, port. */
export const MESSAGE_HEADER_BYTES = 16;

/* struct nlattr: length, type. */
export const ATTRIBUTE_HEADER_BYTES = 4;
export const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = 0x3fff;
