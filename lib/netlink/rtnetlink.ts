/** Numbers of rtnetlink that several files need (include/uapi/linux/rtnetlink.h, if_link.h, neighbour.h). */

/* Address families (sys/socket.h). */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

/* Messages. */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

/* Links: attributes of struct ifinfomsg, attributes of IFLA_LINKINFO, a flag. */
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_MASTER = 10;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_AF_SPEC = 26;
export const IFLA_EXT_MASK = 29;
export const IFLA_LINK_NETNSID = 37;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_INFO_SLAVE_KIND = 4;
export const IFLA_INFO_SLAVE_DATA = 5;
export const IFLA_BRPORT_MODE = 4;
export const IFLA_BRPORT_ISOLATED = 33;
export const IFF_UP = 0x1;
/** In IFLA_EXT_MASK: leaves counters out of the answers. To add them up over all CPUs would be most of the work. */
export const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/* Routes: attributes, of struct rtmsg and of RTA_METRICS. */
export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RTA_METRICS = 8;
export const RTA_TABLE = 15;
export const RTAX_MTU = 2;

/* Routes: fields of struct rtmsg. */
export const RT_TABLE_MAIN = 254;
export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTNH_F_ONLINK = 4;

/* Neighbours: attributes of struct ndmsg, states. */
export const NDA_DST = 1;
export const NDA_LLADDR = 2;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;
