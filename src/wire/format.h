/* format.h - what a message looks like. Constants only.
 *
 *     message  = header count value*
 *     header   = one byte: version | flags (a positive fixint, so that the whole
 *                message is a MessagePack stream)
 *     count    = unsigned integer, how many values follow
 *     value    = nil | boolean | integer | float | string | table | ext
 *     table    = array                    keys 1..n, nothing else
 *              | map                      no leading sequence
 *              | array, whose last element is TAIL(map): both
 *
 * Extension types, each with the MessagePack payload named here:
 *
 *     REF       n                        the n-th object of this message, again
 *     TAIL      map                      the other fields of the table around it
 *     FUNCTION  n upvalue*               the n-th attached code and the upvalues that travel
 *     CELL      n                        in an upvalue's place: the n-th cell, again
 *     MODULE    string (string | nil)    what require(a)[b], or require(a), gives
 *     ERROR     string (array | map)     class name and fields
 *     HANDLE    n                        the n-th attached handle
 *
 * Objects (tables, functions, errors) and cells (the upvalues that are not a CELL) are
 * numbered from 0 in the order in which they begin. The flags say whether a REF or a CELL
 * occurs at all; without them a reader need not remember anything.
 *
 * A table or function may lie in at most LP__WIRE_MAX_DEPTH - 1 others; a TAIL is not a
 * level of its own, and neither are the fields of an ERROR. */
#ifndef LP_WIRE_FORMAT_H
#define LP_WIRE_FORMAT_H

#define LP__WIRE_VERSION 0x01
#define LP__WIRE_VERSION_MASK 0x0f
#define LP__WIRE_REFS 0x10
#define LP__WIRE_CELLS 0x20
#define LP__WIRE_FLAGS (LP__WIRE_REFS | LP__WIRE_CELLS)

#define LP__WIRE_MAX_DEPTH 128

enum {
    LP__EXT_REF = 1,
    LP__EXT_TAIL,
    LP__EXT_FUNCTION,
    LP__EXT_CELL,
    LP__EXT_MODULE,
    LP__EXT_ERROR,
    LP__EXT_HANDLE,
    LP__EXT_LAST = LP__EXT_HANDLE
};

#endif
