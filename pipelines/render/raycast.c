/* A ray caster for triangle meshes and spheres, written once: gcc builds it for the CPU (one loop over pixels with OpenMP),
 * nvcc or NVRTC for the GPU (one thread a pixel). Only the last section of the file differs.
 *
 * World: metres, right-handed, Y up. Camera: OpenCV axes (x right, y down, z forward), pixel centres at integers; rays have
 * direction z = 1 in camera space, so that the ray parameter IS the z-depth. Geometry is cast through pixel centres and is
 * exact; colour may take more samples inside the pixel. The records below are mirrored in layout.py, field by field. */

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define ON_GPU 1
#define NOTHING __int_as_float(0x7f800000) /* infinity; NVRTC has no math.h */
#define FN static __device__ __forceinline__
#define SLOW_FN static __device__ __noinline__
#else
#define ON_GPU 0
#define FN static inline
#define SLOW_FN static
#include <math.h>
#define NOTHING INFINITY
#endif

#define MAX_LIGHTS 6
#define STACK 48
#define FAR 1e30f
#define PI 3.14159265f

typedef struct { float x, y, z; } V3;
typedef struct { float lo[3]; int first; float hi[3]; int count; } Node; /* count > 0: a leaf; else children first, first + 1 */
typedef struct { int kind, root, material, object, exact_normals; float scale; } Instance; /* kind 0: mesh, 1: unit sphere */
typedef struct { int root, transforms; } State;                                            /* positions of all instances */
typedef struct { int offset, width, height, levels; } Texture;
typedef struct {
    float color[3]; int texture; float scale[2], specular, roughness, mirror, emission[3], metal;
} Material;
typedef struct { int kind; float where[3], radius, color[3]; } Light; /* kind 0: sun, where = direction to it; 1: a ball */
typedef struct {
    int lights; Light light[MAX_LIGHTS];
    float zenith[3], horizon[3], ground[3]; int sky_texture;
    float ambient_up[3], ambient_side[3], ambient_down[3], ambient_reach, bounce;
    float fog_color[3], fog_density;
} Lighting;
typedef struct {
    float fx, fy, cx, cy, pose[12]; /* pose: camera to world, 3x4 row-major */
    int state, lighting, previous, next, seed;
} Frame;
typedef struct {
    const Node *nodes; const float *triangles, *attributes; const Instance *instances; const float *transforms;
    const int *items; const State *states; const Frame *frames; const Lighting *lightings; const Material *materials;
    const Texture *textures; const unsigned char *texels;
    float *radiance, *depth, *normal, *flow_forward, *flow_backward;
    unsigned char *occluded_forward, *occluded_backward; int *object;
    int frame_count, height, width, samples, ambient_samples;
} Job;
typedef struct { V3 o, d, inv; } Ray;
typedef struct { float t, u, v; int instance, triangle; } Hit;
typedef struct { V3 p, geometric, shading; float u, v, density, cosine; int material; } Surface;

/* ---- vectors -------------------------------------------------------------------------------------------------------- */

FN V3 vec(float x, float y, float z) { V3 r; r.x = x; r.y = y; r.z = z; return r; }
FN V3 load(const float *p) { return vec(p[0], p[1], p[2]); }
FN V3 add(V3 a, V3 b) { return vec(a.x + b.x, a.y + b.y, a.z + b.z); }
FN V3 sub(V3 a, V3 b) { return vec(a.x - b.x, a.y - b.y, a.z - b.z); }
FN V3 mul(V3 a, V3 b) { return vec(a.x * b.x, a.y * b.y, a.z * b.z); }
FN V3 scaled(V3 a, float s) { return vec(a.x * s, a.y * s, a.z * s); }
FN V3 mix(V3 a, V3 b, float t) { return add(scaled(a, 1 - t), scaled(b, t)); }
FN float dot(V3 a, V3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
FN V3 cross(V3 a, V3 b) { return vec(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x); }
FN V3 unit(V3 a) { float n = sqrtf(dot(a, a)); return n > 0 ? scaled(a, 1 / n) : vec(0, 0, 1); }
FN float lower(float a, float b) { return a < b ? a : b; }
FN float higher(float a, float b) { return a > b ? a : b; }
FN float clamp01(float a) { return lower(higher(a, 0), 1); }
FN V3 turn(const float *m, V3 d) { /* the 3x3 of a 3x4 */
    return vec(m[0] * d.x + m[1] * d.y + m[2] * d.z, m[4] * d.x + m[5] * d.y + m[6] * d.z,
               m[8] * d.x + m[9] * d.y + m[10] * d.z);
}
FN V3 move(const float *m, V3 p) { return add(turn(m, p), vec(m[3], m[7], m[11])); }
FN V3 turn_back(const float *m, V3 d) { /* by the transpose: inverse of a rotation, or normals by an inverse matrix */
    return vec(m[0] * d.x + m[4] * d.y + m[8] * d.z, m[1] * d.x + m[5] * d.y + m[9] * d.z,
               m[2] * d.x + m[6] * d.y + m[10] * d.z);
}

/* ---- random numbers: a hash of pixel and purpose, shifted by a low-discrepancy step a sample ------------------------------ */

FN unsigned hash(unsigned v) { /* PCG: Jarzynski and Olano, Hash Functions for GPU Rendering, 2020 */
    unsigned s = v * 747796405u + 2891336453u, w = ((s >> ((s >> 28) + 4u)) ^ s) * 277803737u;
    return (w >> 22) ^ w;
}
FN float fraction(float x) { return x - floorf(x); }
FN void random_pair(unsigned key, int sample, float *a, float *b) { /* R2 sequence: Roberts 2018 */
    unsigned h = hash(key), g = hash(h);
    *a = fraction((h >> 8) * (1.0f / 16777216) + sample * 0.7548777f);
    *b = fraction((g >> 8) * (1.0f / 16777216) + sample * 0.5698403f);
}

/* ---- rays and boxes --------------------------------------------------------------------------------------------------- */

FN float not_zero(float d) { return d < 0 ? lower(d, -1e-12f) : higher(d, 1e-12f); } /* keeps 1/d finite: no 0 * inf */
FN Ray ray_of(V3 o, V3 d) {
    Ray r; r.o = o; r.d = d;
    r.inv = vec(1 / not_zero(d.x), 1 / not_zero(d.y), 1 / not_zero(d.z));
    return r;
}
FN float enter(const Node *n, const Ray *r, float limit) { /* the ray parameter where it enters the box, or FAR */
    float ax = (n->lo[0] - r->o.x) * r->inv.x, bx = (n->hi[0] - r->o.x) * r->inv.x;
    float ay = (n->lo[1] - r->o.y) * r->inv.y, by = (n->hi[1] - r->o.y) * r->inv.y;
    float az = (n->lo[2] - r->o.z) * r->inv.z, bz = (n->hi[2] - r->o.z) * r->inv.z;
    float in = higher(higher(lower(ax, bx), lower(ay, by)), higher(lower(az, bz), 0));
    float out = lower(lower(higher(ax, bx), higher(ay, by)), lower(higher(az, bz), limit));
    return in <= out * 1.000001f ? in : FAR;
}

/* One triangle (Moeller and Trumbore 1997), with a hair of tolerance so that shared edges let nothing through. */
FN int meet_triangle(const float *t, const Ray *r, float near, Hit *hit) {
    V3 e1 = load(t + 4), e2 = load(t + 8), q = cross(r->d, e2);
    float det = dot(e1, q);
    if (det == 0) return 0;
    float inv = 1 / det;
    V3 s = sub(r->o, load(t)), c = cross(s, e1);
    float u = dot(s, q) * inv, v = dot(r->d, c) * inv, d = dot(e2, c) * inv;
    if (u < -1e-6f || v < -1e-6f || u + v > 1.000001f || d <= near || d >= hit->t) return 0;
    hit->t = d; hit->u = u; hit->v = v;
    return 1;
}
FN int meet_sphere(const Ray *r, float near, Hit *hit) {
    float a = dot(r->d, r->d), b = dot(r->o, r->d);
    V3 f = sub(r->o, scaled(r->d, b / a)); /* the foot: stable for far spheres (Haines et al., Ray Tracing Gems 7) */
    float h = (1 - dot(f, f)) / a;
    if (h < 0) return 0;
    float root = sqrtf(h), t = -b / a - root;
    if (t <= near) t += 2 * root;
    if (t <= near || t >= hit->t) return 0;
    hit->t = t; hit->u = hit->v = 0;
    return 1;
}

/* Walks a tree front to back. `any` stops at the first hit. Returns whether a triangle was met. */
SLOW_FN int cast_mesh(const Job *job, int root, const Ray *r, float near, Hit *hit, int any) {
    int stack[STACK], top = 0, at = root, met = 0;
    for (;;) {
        const Node *n = job->nodes + at;
        if (n->count > 0) {
            for (int i = n->first; i < n->first + n->count; i++)
                if (meet_triangle(job->triangles + 12L * i, r, near, hit)) {
                    hit->triangle = i; met = 1;
                    if (any) return 1;
                }
        } else {
            int a = n->first, b = n->first + 1;
            float ta = enter(job->nodes + a, r, hit->t), tb = enter(job->nodes + b, r, hit->t);
            if (tb < ta) { float t = ta; ta = tb; tb = t; int k = a; a = b; b = k; }
            if (tb < FAR && top < STACK) stack[top++] = b;
            if (ta < FAR) { at = a; continue; }
        }
        if (top == 0) return met;
        at = stack[--top];
    }
}
FN int cast_instance(const Job *job, const State *s, int index, const Ray *world, float near, Hit *hit, int any) {
    const Instance *in = job->instances + index;
    const float *back = job->transforms + s->transforms + 24L * index + 12;
    Ray r = ray_of(move(back, world->o), turn(back, world->d)); /* direction not normalised: t stays the world's */
    int met = in->kind == 1 ? meet_sphere(&r, near, hit) : cast_mesh(job, in->root, &r, near, hit, any);
    if (met) hit->instance = index;
    return met;
}
SLOW_FN int cast(const Job *job, const State *s, V3 o, V3 d, float near, float limit, Hit *hit, int any) {
    int stack[STACK], top = 0, at = s->root, met = 0;
    Ray r = ray_of(o, d);
    hit->t = limit; hit->instance = -1;
    if (at < 0) return 0;
    for (;;) {
        const Node *n = job->nodes + at;
        if (enter(n, &r, hit->t) < FAR) {
            if (n->count > 0) {
                for (int i = n->first; i < n->first + n->count; i++)
                    if (cast_instance(job, s, job->items[i], &r, near, hit, any)) {
                        met = 1;
                        if (any) return 1;
                    }
            } else {
                float ta = enter(job->nodes + n->first, &r, hit->t), tb = enter(job->nodes + n->first + 1, &r, hit->t);
                int a_first = ta <= tb;
                if (top < STACK) stack[top++] = n->first + a_first;
                at = n->first + !a_first;
                continue;
            }
        }
        if (top == 0) return met;
        at = stack[--top];
    }
}
FN int blocked(const Job *job, const State *s, V3 o, V3 d, float limit) {
    Hit hit;
    return cast(job, s, o, d, 0, limit, &hit, 1);
}

/* ---- the surface that was hit ------------------------------------------------------------------------------------------- */

FN void sphere_surface(V3 q, Surface *out, V3 *n) {
    *n = q;
    out->u = atan2f(q.z, q.x) / (2 * PI) + 0.5f;
    out->v = acosf(lower(higher(q.y, -1), 1)) / PI;
    out->density = 0.2f;
}
FN void mesh_surface(const Job *job, const Hit *hit, Surface *out, V3 *flat, V3 *smooth) {
    const float *t = job->triangles + 12L * hit->triangle, *a = job->attributes + 15L * hit->triangle;
    float u = hit->u, v = hit->v, w = 1 - u - v;
    *flat = cross(load(t + 4), load(t + 8));
    *smooth = add(add(scaled(load(a), w), scaled(load(a + 3), u)), scaled(load(a + 6), v));
    out->u = a[9] * w + a[11] * u + a[13] * v;
    out->v = a[10] * w + a[12] * u + a[14] * v;
    out->density = t[7];
    out->material += (int)t[3];
}
/* Normals in world space, turned to the camera. Where the mesh stands for a curved surface, the interpolated normal is the
 * truth; else the face's. `shading` is always the interpolated one. */
FN Surface surface_of(const Job *job, const State *s, const Hit *hit, V3 o, V3 d) {
    const Instance *in = job->instances + hit->instance;
    const float *m = job->transforms + s->transforms + 24L * hit->instance;
    Surface r; V3 flat, smooth;
    r.p = add(o, scaled(d, hit->t));
    r.material = in->material;
    if (in->kind == 1) { sphere_surface(move(m + 12, r.p), &r, &flat); smooth = flat; }
    else mesh_surface(job, hit, &r, &flat, &smooth);
    r.density /= in->scale;
    flat = unit(turn_back(m + 12, flat)); smooth = unit(turn_back(m + 12, smooth));
    if (dot(flat, smooth) < 0) smooth = scaled(smooth, -1);
    if (dot(flat, d) > 0) { flat = scaled(flat, -1); smooth = scaled(smooth, -1); }
    V3 view = unit(scaled(d, -1));
    r.cosine = higher(dot(flat, view), 0.02f);
    if (dot(smooth, view) < 0.01f) smooth = unit(add(smooth, scaled(view, 0.02f - dot(smooth, view)))); /* past the silhouette */
    r.shading = smooth;
    r.geometric = in->exact_normals ? smooth : flat;
    r.p = add(r.p, scaled(flat, 1e-4f + 2e-5f * hit->t)); /* lifted off the surface, for the rays that start here */
    return r;
}

/* ---- textures -------------------------------------------------------------------------------------------------------------- */

FN float linear(unsigned char c) { /* sRGB to linear, cubic fit */
    float s = c * (1.0f / 255);
    return s * (s * (s * 0.305306011f + 0.682171111f) + 0.012522878f);
}
FN V3 texel(const Job *job, long base, int w, int h, int x, int y) { /* sizes are powers of two: wraps by mask */
    const unsigned char *p = job->texels + 4 * (base + (long)(y & (h - 1)) * w + (x & (w - 1)));
    return vec(linear(p[0]), linear(p[1]), linear(p[2]));
}
FN V3 texture_level(const Job *job, const Texture *t, int level, float u, float v) {
    long base = t->offset; int w = t->width, h = t->height;
    for (int i = 0; i < level; i++) { base += (long)w * h; w = w > 1 ? w / 2 : 1; h = h > 1 ? h / 2 : 1; }
    float x = u * w - 0.5f, y = v * h - 0.5f, fx = floorf(x), fy = floorf(y);
    int ix = (int)fx, iy = (int)fy;
    V3 top = mix(texel(job, base, w, h, ix, iy), texel(job, base, w, h, ix + 1, iy), x - fx);
    V3 bottom = mix(texel(job, base, w, h, ix, iy + 1), texel(job, base, w, h, ix + 1, iy + 1), x - fx);
    return mix(top, bottom, y - fy);
}
FN V3 texture_at(const Job *job, int index, float u, float v, float footprint) { /* footprint: in uv units */
    const Texture *t = job->textures + index;
    float lod = log2f(higher(footprint * t->width, 1e-6f));
    u = fraction(u); v = fraction(v);
    if (lod <= 0) return texture_level(job, t, 0, u, v);
    lod = lower(lod, (float)(t->levels - 1));
    int a = (int)lod, b = a + 1 < t->levels ? a + 1 : a;
    return mix(texture_level(job, t, a, u, v), texture_level(job, t, b, u, v), lod - a);
}
FN V3 albedo_of(const Job *job, const Material *m, const Surface *s, float pixel) { /* pixel: its width at the surface */
    V3 color = load(m->color);
    if (m->texture < 0) return color;
    float footprint = pixel * s->density * higher(m->scale[0], m->scale[1]) / sqrtf(s->cosine);
    return mul(color, texture_at(job, m->texture, s->u * m->scale[0], s->v * m->scale[1], footprint));
}

/* ---- light ------------------------------------------------------------------------------------------------------------------ */

FN V3 sky(const Job *job, const Lighting *l, V3 d, float pixel) {
    if (l->sky_texture >= 0) {
        float v = acosf(lower(higher(d.y, -1), 1)) / PI;
        return mul(load(l->zenith), texture_at(job, l->sky_texture, atan2f(d.x, -d.z) / (2 * PI) + 0.5f, v, pixel / 6.28f));
    }
    if (d.y < 0) return mix(load(l->horizon), load(l->ground), 1 - expf(8 * d.y));
    return mix(load(l->horizon), load(l->zenith), 1 - expf(-3 * d.y));
}
FN V3 ambient(const Lighting *l, V3 d) {
    V3 side = load(l->ambient_side);
    return d.y > 0 ? mix(side, load(l->ambient_up), d.y) : mix(side, load(l->ambient_down), -d.y);
}
FN void frame_of(V3 n, V3 *a, V3 *b) { /* Duff et al., Building an Orthonormal Basis, Revisited, 2017 */
    float s = n.z < 0 ? -1.0f : 1.0f, k = -1 / (s + n.z), c = n.x * n.y * k;
    *a = vec(1 + s * n.x * n.x * k, s * c, -s * n.x);
    *b = vec(c, s + n.y * n.y * k, -n.y);
}
FN V3 around(V3 n, float x, float y, float z) {
    V3 a, b; frame_of(n, &a, &b);
    return add(add(scaled(a, x), scaled(b, y)), scaled(n, z));
}
FN V3 cosine_direction(V3 n, float a, float b) {
    float r = sqrtf(a), phi = 2 * PI * b;
    return around(n, r * cosf(phi), r * sinf(phi), sqrtf(higher(1 - a, 1e-4f)));
}
FN V3 to_light(const Light *l, V3 p, float a, float b, float *distance, float *strength) {
    float r = sqrtf(a) * l->radius, phi = 2 * PI * b, x = r * cosf(phi), y = r * sinf(phi);
    if (l->kind == 0) { *distance = FAR; *strength = 1; return unit(around(load(l->where), x, y, 1)); }
    V3 axis = sub(load(l->where), p);
    float far = sqrtf(dot(axis, axis));
    V3 d = add(around(scaled(axis, 1 / higher(far, 1e-6f)), x, y, 0), axis);
    far = sqrtf(dot(d, d));
    *distance = far - l->radius * 1.02f;
    *strength = 1 / higher(far * far, 0.01f);
    return scaled(d, 1 / higher(far, 1e-6f));
}
/* Light that arrives from the lamps: diffuse into *diffuse, Blinn-Phong highlight into *glint. */
FN void lamps(const Job *job, const State *st, const Lighting *l, const Surface *s, const Material *m, V3 view,
              unsigned key, int sample, V3 *diffuse, V3 *glint) {
    float power = 2 / higher(m->roughness * m->roughness * m->roughness, 0.002f);
    *diffuse = *glint = vec(0, 0, 0);
    for (int i = 0; i < l->lights; i++) {
        float a, b, distance, strength;
        random_pair(key + 17u * i, sample, &a, &b);
        V3 d = to_light(l->light + i, s->p, a, b, &distance, &strength);
        float facing = dot(s->shading, d);
        if (facing <= 0 || distance <= 0 || blocked(job, st, s->p, d, distance)) continue;
        V3 light = scaled(load(l->light[i].color), facing * strength);
        *diffuse = add(*diffuse, light);
        float h = clamp01(dot(s->shading, unit(add(d, view))));
        *glint = add(*glint, scaled(light, m->specular * (power + 2) * 0.125f * powf(h, power)));
    }
}
/* Hemispheric light, hidden by what is near: a ray that meets something within a random part of the reach brings `bounce`. */
FN V3 surroundings(const Job *job, const State *st, const Lighting *l, const Surface *s, unsigned key, int sample, int count) {
    V3 sum = vec(0, 0, 0);
    if (count == 0) return scaled(ambient(l, s->shading), 0.8f);
    for (int i = 0; i < count; i++) {
        float a, b, reach = l->ambient_reach;
        random_pair(key, sample * count + i, &a, &b);
        V3 d = cosine_direction(s->shading, a, b);
        if (reach < 1e6f) reach *= 0.15f + 0.85f * fraction(a * 61.7f + b * 7.3f);
        float part = dot(d, s->geometric) > 0 && !blocked(job, st, s->p, d, reach) ? 1 : l->bounce;
        sum = add(sum, scaled(ambient(l, d), part));
    }
    return scaled(sum, 1.0f / count);
}
FN V3 in_fog(const Lighting *l, V3 color, float distance) {
    return l->fog_density > 0 ? mix(load(l->fog_color), color, expf(-l->fog_density * distance)) : color;
}
FN V3 matte(const Job *job, const State *st, const Lighting *l, const Surface *s, V3 view, float pixel, unsigned key,
            int sample, int ambient_samples, V3 *albedo, V3 *glint) {
    const Material *m = job->materials + s->material;
    V3 diffuse;
    *albedo = albedo_of(job, m, s, pixel);
    lamps(job, st, l, s, m, view, key, sample, &diffuse, glint);
    diffuse = add(diffuse, surroundings(job, st, l, s, key + 101u, sample, ambient_samples));
    return add(load(m->emission), scaled(mul(*albedo, diffuse), 1 - m->metal));
}
/* What a mirror-like part of the surface shows: one ray, its hit lit without further reflection. */
FN V3 reflection(const Job *job, const State *st, const Lighting *l, const Surface *s, const Material *m, V3 d, float pixel,
                 unsigned key, int sample) {
    float a, b;
    random_pair(key + 211u, sample, &a, &b);
    V3 n = unit(add(s->shading, scaled(cosine_direction(s->shading, a, b), 0.35f * m->roughness * m->roughness)));
    V3 r = sub(d, scaled(n, 2 * dot(d, n)));
    Hit hit;
    if (dot(r, s->geometric) <= 0) r = sub(r, scaled(s->geometric, 1.1f * dot(r, s->geometric)));
    if (!cast(job, st, s->p, r, 0, FAR, &hit, 0)) return sky(job, l, unit(r), 0.05f + m->roughness);
    Surface seen = surface_of(job, st, &hit, s->p, r);
    V3 albedo, glint;
    float wide = (pixel + hit.t * (0.003f + 0.3f * m->roughness * m->roughness));
    return matte(job, st, l, &seen, scaled(r, -1), wide, key + 307u, sample, 0, &albedo, &glint);
}
FN V3 shade(const Job *job, const Frame *f, const State *st, const Hit *hit, V3 o, V3 d, unsigned key, int sample) {
    const Lighting *l = job->lightings + f->lighting;
    Surface s = surface_of(job, st, hit, o, d);
    const Material *m = job->materials + s.material;
    float length = sqrtf(dot(d, d)), pixel = hit->t / f->fx / sqrtf((float)job->samples);
    V3 into = scaled(d, 1 / length), albedo, glint;
    V3 color = matte(job, st, l, &s, scaled(into, -1), pixel, key, sample, job->ambient_samples, &albedo, &glint);
    color = add(color, mul(glint, mix(vec(1, 1, 1), albedo, m->metal)));
    float grazing = 1 - clamp01(-dot(into, s.shading)), fresnel = grazing * grazing * grazing * grazing * grazing;
    float share = m->mirror + (1 - m->mirror) * fresnel * m->specular * (1 - m->roughness);
    if (share > 0.01f) {
        V3 tint = mix(vec(1, 1, 1), albedo, m->metal);
        V3 seen = mul(tint, reflection(job, st, l, &s, m, into, pixel, key, sample));
        color = mix(color, seen, share);
    }
    return in_fog(l, color, hit->t * length);
}

/* ---- one pixel ----------------------------------------------------------------------------------------------------------- */

FN V3 direction(const Frame *f, float x, float y) { return turn(f->pose, vec((x - f->cx) / f->fx, (y - f->cy) / f->fy, 1)); }
FN V3 eye(const Frame *f) { return vec(f->pose[3], f->pose[7], f->pose[11]); }

FN V3 radiance(const Job *job, const Frame *f, const Hit *centre, int x, int y) {
    const State *st = job->states + f->state;
    const Lighting *l = job->lightings + f->lighting;
    unsigned key = hash((unsigned)f->seed * 9781u + (unsigned)(y * job->width + x));
    V3 sum = vec(0, 0, 0);
    for (int i = 0; i < job->samples; i++) {
        Hit hit = *centre;
        float dx = 0, dy = 0;
        if (job->samples > 1) random_pair(key + 1009u, i, &dx, &dy);
        V3 o = eye(f), d = direction(f, job->samples > 1 ? x + dx - 0.5f : x, job->samples > 1 ? y + dy - 0.5f : y);
        if (job->samples > 1) cast(job, st, o, d, 1e-4f, FAR, &hit, 0);
        V3 c = hit.instance < 0 ? sky(job, l, unit(d), 1 / f->fx) : shade(job, f, st, &hit, o, d, key, i);
        sum = add(sum, vec(lower(c.x, 20), lower(c.y, 20), lower(c.z, 20))); /* no fireflies */
    }
    return scaled(sum, 1.0f / job->samples);
}
/* Where the point seen at (x, y) is in another frame: flow in pixels, and whether it is hidden or out of the picture there. */
FN void follow(const Job *job, const Frame *f, int other, const Hit *hit, int x, int y, float *flow, unsigned char *occluded) {
    flow[0] = flow[1] = 0; *occluded = 1;
    if (other < 0) return;
    const Frame *g = job->frames + other;
    const State *from = job->states + f->state, *to = job->states + g->state;
    V3 d = direction(f, x, y), away = d;
    if (hit->instance >= 0) { /* a point at infinity keeps its direction; any other goes with its instance */
        long k = 24L * hit->instance;
        V3 q = move(job->transforms + from->transforms + k + 12, add(eye(f), scaled(d, hit->t)));
        away = sub(move(job->transforms + to->transforms + k, q), eye(g));
    }
    V3 c = turn_back(g->pose, away);
    if (c.z <= 1e-4f) return;
    float u = g->fx * c.x / c.z + g->cx, v = g->fy * c.y / c.z + g->cy;
    flow[0] = u - x; flow[1] = v - y;
    if (u < -0.5f || v < -0.5f || u > job->width - 0.5f || v > job->height - 0.5f) return;
    float limit = hit->instance >= 0 ? c.z * 0.999f : FAR;
    Hit before;
    *occluded = (unsigned char)cast(job, to, eye(g), scaled(away, 1 / c.z), 1e-4f, limit, &before, 1);
}
FN void render_pixel(const Job *job, int frame, int x, int y) {
    const Frame *f = job->frames + frame;
    const State *st = job->states + f->state;
    long at = ((long)frame * job->height + y) * job->width + x;
    Hit hit;
    V3 o = eye(f), d = direction(f, x, y);
    int met = cast(job, st, o, d, 1e-4f, FAR, &hit, 0);
    if (job->depth) job->depth[at] = met ? hit.t : NOTHING;
    if (job->object) job->object[at] = met ? job->instances[hit.instance].object : -1;
    if (job->normal) { /* OpenCV camera axes to ours: x right, y up, z toward the camera */
        Surface s;
        V3 n = vec(0, 0, 0);
        if (met) { s = surface_of(job, st, &hit, o, d); n = turn_back(f->pose, s.geometric); }
        job->normal[3 * at] = n.x; job->normal[3 * at + 1] = -n.y; job->normal[3 * at + 2] = -n.z;
    }
    if (job->flow_forward) follow(job, f, f->next, &hit, x, y, job->flow_forward + 2 * at, job->occluded_forward + at);
    if (job->flow_backward) follow(job, f, f->previous, &hit, x, y, job->flow_backward + 2 * at, job->occluded_backward + at);
    if (job->radiance) {
        V3 c = radiance(job, f, &hit, x, y);
        job->radiance[3 * at] = c.x; job->radiance[3 * at + 1] = c.y; job->radiance[3 * at + 2] = c.z;
    }
}

/* Pixels in tiles of 8 x 8, so that neighbours in work are neighbours in the picture. */
FN void render_at(const Job *job, long index) {
    int across = (job->width + 7) / 8, down = (job->height + 7) / 8;
    int within = (int)(index & 63);
    long tile = index >> 6;
    int frame = (int)(tile / ((long)across * down)), place = (int)(tile % ((long)across * down));
    int x = (place % across) * 8 + (within & 7), y = (place / across) * 8 + (within >> 3);
    if (frame < job->frame_count && x < job->width && y < job->height) render_pixel(job, frame, x, y);
}

/* ---- the two machines ----------------------------------------------------------------------------------------------------- */

#if ON_GPU
extern "C" __global__ void __launch_bounds__(128) render_kernel(const Job *shared_job) {
    Job job = *shared_job;
    render_at(&job, (long)blockIdx.x * blockDim.x + threadIdx.x);
}
#ifndef __CUDACC_RTC__
/* job: a Job in device memory. Returns a cudaError_t. */
extern "C" int render_launch(const void *job, unsigned blocks, void *stream) {
    render_kernel<<<blocks, 128, 0, (cudaStream_t)stream>>>((const Job *)job);
    return (int)cudaGetLastError();
}
#endif
#else
int job_size(void) { return (int)sizeof(Job); }
void render(const Job *job, int threads) {
    long tiles = (long)job->frame_count * ((job->width + 7) / 8) * ((job->height + 7) / 8);
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads)
    for (long tile = 0; tile < tiles; tile++)
        for (int i = 0; i < 64; i++) render_at(job, tile * 64 + i);
}
#endif
