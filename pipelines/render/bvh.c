/* Bounding volume trees by binned surface-area heuristic (Wald 2007). Built on the CPU, for triangles and for instances alike. */

#include <stdlib.h>

#define BINS 12

typedef struct { float lo[3]; int first; float hi[3]; int count; } Node; /* as in raycast.c */
typedef struct { float lo[3], hi[3]; } Box;
typedef struct { Box box; int count; } Bin;

static Box empty_box(void) {
    Box b = {{1e30f, 1e30f, 1e30f}, {-1e30f, -1e30f, -1e30f}};
    return b;
}
static void include(Box *b, const float *lo, const float *hi) {
    for (int k = 0; k < 3; k++) {
        if (lo[k] < b->lo[k]) b->lo[k] = lo[k];
        if (hi[k] > b->hi[k]) b->hi[k] = hi[k];
    }
}
static float area(const Box *b) {
    float x = b->hi[0] - b->lo[0], y = b->hi[1] - b->lo[1], z = b->hi[2] - b->lo[2];
    return x < 0 ? 0 : x * y + y * z + z * x;
}
static float middle(const float *box, int axis) { return 0.5f * (box[axis] + box[axis + 3]); }

static int bin_of(float c, float lo, float per) {
    int b = (int)((c - lo) * per);
    return b < 0 ? 0 : b >= BINS ? BINS - 1 : b;
}
/* The cheapest split of one axis: its cost, and the bin it comes after. */
static float best_split(const Bin *bins, int *after) {
    float right[BINS], best = 1e30f;
    Box sweep = empty_box();
    int count = 0;
    for (int i = BINS - 1; i > 0; i--) {
        include(&sweep, bins[i].box.lo, bins[i].box.hi);
        count += bins[i].count;
        right[i] = area(&sweep) * count;
    }
    sweep = empty_box();
    count = 0;
    for (int i = 0; i < BINS - 1; i++) {
        include(&sweep, bins[i].box.lo, bins[i].box.hi);
        count += bins[i].count;
        float cost = area(&sweep) * count + right[i + 1];
        if (count > 0 && cost < best) { best = cost; *after = i; }
    }
    return best;
}
static int partition(const float *boxes, int *order, int first, int count, int axis, float lo, float per, int after) {
    int i = first, j = first + count - 1;
    while (i <= j) {
        if (bin_of(middle(boxes + 6L * order[i], axis), lo, per) <= after) i++;
        else { int t = order[i]; order[i] = order[j]; order[j--] = t; }
    }
    return i - first;
}
/* Splits order[first .. first+count) in two; returns how many fall left, 0 where a leaf is better. */
static int split(const float *boxes, int *order, int first, int count, const Box *whole, int leaf) {
    Box centres = empty_box();
    for (int i = first; i < first + count; i++) {
        float c[3];
        for (int k = 0; k < 3; k++) c[k] = middle(boxes + 6L * order[i], k);
        include(&centres, c, c);
    }
    float best = 1e30f, best_lo = 0, best_per = 0;
    int best_axis = -1, best_after = 0;
    for (int axis = 0; axis < 3; axis++) {
        float extent = centres.hi[axis] - centres.lo[axis], per = BINS / extent;
        if (!(extent > 1e-9f)) continue;
        Bin bins[BINS];
        for (int i = 0; i < BINS; i++) { bins[i].box = empty_box(); bins[i].count = 0; }
        for (int i = first; i < first + count; i++) {
            const float *b = boxes + 6L * order[i];
            Bin *bin = bins + bin_of(middle(b, axis), centres.lo[axis], per);
            include(&bin->box, b, b + 3);
            bin->count++;
        }
        int after = 0;
        float cost = best_split(bins, &after);
        if (cost < best) { best = cost; best_axis = axis; best_after = after; best_lo = centres.lo[axis]; best_per = per; }
    }
    if (best_axis < 0) return count > leaf ? count / 2 : 0; /* all centres coincide: any halves */
    if (count <= leaf && best >= area(whole) * (count - 0.5f)) return 0;
    int left = partition(boxes, order, first, count, best_axis, best_lo, best_per, best_after);
    return left == 0 || left == count ? (count > leaf ? count / 2 : 0) : left;
}
/* boxes: [n][6] lo, hi. Writes at most 2n nodes, root first, and the order in which leaves name the boxes. Returns the
 * number of nodes. Leaves hold at most `leaf` boxes. */
int build_tree(const float *boxes, int n, int leaf, Node *nodes, int *order) {
    int used = 1, top = 0, *pending = malloc(sizeof(int) * (2L * n + 8));
    for (int i = 0; i < n; i++) order[i] = i;
    nodes[0].first = 0;
    nodes[0].count = n;
    pending[top++] = 0;
    while (top > 0) {
        Node *node = nodes + pending[--top];
        int first = node->first, count = node->count;
        Box whole = empty_box();
        for (int i = first; i < first + count; i++) include(&whole, boxes + 6L * order[i], boxes + 6L * order[i] + 3);
        for (int k = 0; k < 3; k++) { node->lo[k] = whole.lo[k]; node->hi[k] = whole.hi[k]; }
        int left = count > 1 ? split(boxes, order, first, count, &whole, leaf) : 0;
        if (left == 0) continue;
        nodes[used].first = first;
        nodes[used].count = left;
        nodes[used + 1].first = first + left;
        nodes[used + 1].count = count - left;
        node->first = used;
        node->count = 0;
        pending[top++] = used++;
        pending[top++] = used++;
    }
    free(pending);
    return used;
}
