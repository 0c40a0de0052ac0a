"""Shaders, which run on the graphics card or on Mesa's software renderer."""

SCENE_VERTEX = """#version 330
in vec3 position; in vec3 normal; in vec2 uv; in float segment;
uniform mat4 to_clip; uniform mat4 to_light; uniform float tiling;
out vec3 at; out vec3 facing; out vec2 texel; out vec4 in_light; flat out float part;
void main() {
    gl_Position = to_clip * vec4(position, 1);
    at = position; facing = normal; texel = uv * tiling; part = segment;
    in_light = to_light * vec4(position, 1);
}"""

SCENE_FRAGMENT = """#version 330
in vec3 at; in vec3 facing; in vec2 texel; in vec4 in_light; flat in float part;
uniform sampler2D picture; uniform sampler2DShadow shadow_map; uniform sampler2D behind;
uniform vec3 key, key_way, sky, ground, fill, fill_way, eye;
uniform vec2 size;
uniform float shine, sharpness, wrap, see_through, backdrop, emits, person, shadow_texel, softness;
layout(location = 0) out vec4 color; layout(location = 1) out vec2 ids;
float scatter(vec2 p) { return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453); }
float lit() {
    vec3 q = in_light.xyz / in_light.w * 0.5 + 0.5;
    if (any(lessThan(q, vec3(0))) || any(greaterThan(q, vec3(1)))) return 1.0;
    float sum = 0.0, angle = 6.2832 * scatter(gl_FragCoord.xy);
    for (int i = 0; i < 8; i++) {
        float a = angle + float(i) * 2.399963, r = sqrt((float(i) + 0.5) / 8.0) * softness;
        vec2 offset = vec2(cos(a), sin(a)) * r * shadow_texel;
        sum += texture(shadow_map, vec3(q.xy + offset, q.z - 0.0025));
    }
    return sum / 8.0;
}
void main() {
    vec4 texture_color = texture(picture, texel);
    if (see_through > 0.5 && texture_color.a < 0.08 + 0.85 * scatter(gl_FragCoord.xy)) discard;
    if (see_through < 0.5 && texture_color.a < 0.3) discard;
    ids = vec2(person, part) / 255.0;
    vec3 albedo = pow(texture_color.rgb, vec3(2.2));
    float unshaded = lit();
    if (backdrop > 0.5) {
        vec3 seen = texture(behind, gl_FragCoord.xy / size).rgb;
        vec3 ambient = mix(ground, sky, 0.5);
        float darkest = dot(ambient, vec3(1)) / dot(ambient + key, vec3(1));
        color = vec4(seen * mix(mix(darkest, 1.0, 0.35), 1.0, unshaded), 1);
        return;
    }
    if (emits > 0.5) { color = vec4(texture_color.rgb, 1); return; }
    vec3 n = normalize(facing), view = normalize(eye - at);
    if (dot(n, view) < 0.0) n = -n;
    float towards = dot(n, key_way);
    vec3 light = mix(ground, sky, n.y * 0.5 + 0.5)
        + key * max((towards + wrap) / (1.0 + wrap), 0.0) * unshaded
        + fill * max(dot(n, fill_way), 0.0);
    vec3 halfway = normalize(key_way + view);
    float gleam = shine * pow(max(dot(n, halfway), 0.0), sharpness) * step(0.0, towards);
    float rim = shine * 0.6 * pow(1.0 - max(dot(n, view), 0.0), 4.0);
    vec3 sum = albedo * light + key * unshaded * gleam + sky * rim;
    sum = sum / (1.0 + 0.18 * sum);
    color = vec4(pow(clamp(sum, 0.0, 1.0), vec3(1.0 / 2.2)), 1);
}"""

SHADOW_VERTEX = """#version 330
in vec3 position; in vec2 uv; uniform mat4 to_clip; out vec2 texel;
void main() { gl_Position = to_clip * vec4(position, 1); texel = uv; }"""

SHADOW_FRAGMENT = """#version 330
in vec2 texel; uniform sampler2D picture;
void main() { if (texture(picture, texel).a < 0.5) discard; }"""

FULL_SCREEN_VERTEX = """#version 330
out vec2 uv;
void main() {
    vec2 corner = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
    uv = corner; gl_Position = vec4(corner * 2.0 - 1.0, 0, 1);
}"""

# Crevices are darker: points nearer to the camera around a pixel keep light from it.
OCCLUSION_FRAGMENT = """#version 330
in vec2 uv; uniform sampler2D depth; uniform vec2 texel;
uniform float focal, near, far, radius; out vec4 shade;
float scatter(vec2 p) { return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453); }
float distance_at(vec2 p) {
    float b = texture(depth, p).r * 2.0 - 1.0;
    return 2.0 * near * far / (far + near - b * (far - near));
}
void main() {
    float here = distance_at(uv);
    if (here > far * 0.9) { shade = vec4(1); return; }
    float reach = radius * focal / here, angle = 6.2831 * scatter(gl_FragCoord.xy), hidden = 0.0;
    for (int i = 0; i < 10; i++) {
        float a = angle + float(i) * 2.399963, r = reach * sqrt((float(i) + 0.5) / 10.0);
        vec2 offset = vec2(cos(a), sin(a)) * r * texel;
        vec2 most = max(uv + offset, uv - offset), least = min(uv + offset, uv - offset);
        if (any(lessThan(least, vec2(0))) || any(greaterThan(most, vec2(1)))) continue;
        float height = here - 0.5 * (distance_at(uv + offset) + distance_at(uv - offset));
        hidden += clamp(height / radius * 3.0, 0.0, 1.0) * step(height, radius * 2.0);
    }
    shade = vec4(1.0 - 0.6 * hidden / 10.0);
}"""
