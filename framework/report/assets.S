/* The page's template, its style, its scripts (made of modules by esbuild) and Chart.js, as bytes in the program. */
    .section .rodata
    .global retort_page_html, retort_page_html_end, retort_page_css, retort_page_css_end
    .global retort_served_js, retort_served_js_end
    .global retort_page_js, retort_page_js_end, retort_chart_js, retort_chart_js_end
retort_page_html:
    .incbin "report/page.html"
retort_page_html_end:
    .byte 0
retort_page_css:
    .incbin "page/page.css"
retort_page_css_end:
    .byte 0
retort_page_js:
    .incbin "bundles/report.js"
retort_page_js_end:
    .byte 0
retort_served_js:
    .incbin "bundles/served_report.js"
retort_served_js_end:
    .byte 0
retort_chart_js:
    .incbin RETORT_CHART_JS
retort_chart_js_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
