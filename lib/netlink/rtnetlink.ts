/** Numbers of rtnetlink that several files need (include/uapi/linux/rtnetlink.h, neighbour.h). */

/* Messages (linux/rtnetlink.h). */
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const NLM_F_REPLACE = 0x100;

/* Address families (sys/socket.h). */
export const AF_INET = 2;
export const AF_INET6 = 10;

/* Attributes of routes and of their metrics. */
export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RTA_METRICS = 8;
export const RTA_TABLE = 15;
export const RTAX_MTU = 2;

/* Fields of struct rtmsg. */
export const RT_TABLE_MAIN = 254;
export const RTN_UNICAST = 1;
export const RTNH_F_ONLINK = 4;

/* An attribute of neighbours (linux/neighbour.h). */
export const NDA_DST = 1;
